-- Parameter: $pinned_seq. Every input with a known right answer, once.
select input_hash, any_value(input) as input
from signals_at($pinned_seq) as signals
group by input_hash
order by input_hash;
