-- Parameter: $signal_id. A signal with a right answer, and why it cannot be used, if it cannot.
select signal, signal_id, excluded_because
from signals_at(2147483647) as signals
where signal_id = $signal_id;
