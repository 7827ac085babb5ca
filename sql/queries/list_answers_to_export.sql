-- Parameter: $pinned_seq. Every input with a usable right answer, for other trainers' files. Grain: one row a signal.
select signal_id, input, answer as output
from signals_at($pinned_seq) as signals
where excluded_because is null
  and signal_id not in (select signal_id from withheld)
order by signal_id;
