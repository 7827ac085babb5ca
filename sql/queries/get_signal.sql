-- Parameter: $signal_id, an id or the beginning of one. Signals with a right answer of that id, and why they cannot be
-- used, if they cannot; the one of exactly that id first.
select signal, signal_id, excluded_because
from signals_at(2147483647) as signals
where starts_with(signal_id, $signal_id)
order by signal_id <> $signal_id, signal_id
limit 2;
