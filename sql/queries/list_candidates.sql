-- Input: incoming(input_hash, sampled_by). What was sampled for these inputs by these models before. Grain: one row an
-- answer.
select candidates.input_hash, candidates.output, candidates.is_whole
from candidates
join incoming using (input_hash, sampled_by)
order by candidates.input_hash, candidates.place;
