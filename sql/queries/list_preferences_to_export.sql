-- Parameter: $pinned_seq. Every pair of a better and a worse answer: preferences that are no ties, and corrections with
-- what the model said, but for those that another pair says the reverse of and that do not stand. Grain: one row a pair.
select signal_id, input, answer as chosen, rejected
from pairs_at($pinned_seq) as pairs
where signal in ('preference', 'correction')
  and excluded_because is null
  and (signal <> 'correction' or signal_id not in (select signal_id from withheld))
  and content_hash not in (select content_hash from opposite_preferences where reason is not null)
order by signal_id;
