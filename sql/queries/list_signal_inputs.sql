-- Parameter: $pinned_seq. Every input with a known right answer, once.
select input_hash, any_value(input) as input
from signals
where ingest_seq <= $pinned_seq
group by input_hash
order by input_hash;
