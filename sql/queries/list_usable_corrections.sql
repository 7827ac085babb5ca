-- Parameter: $pinned_seq. Corrections that nothing speaks against so far, and who gave them.
select signal_id as correction_id, producer
from signals_at($pinned_seq) as signals
where signal = 'correction' and excluded_because is null;
