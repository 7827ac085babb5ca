-- Parameter: $pinned_seq. What signals say is right; one that repeats another has a voice too. Grain: one row a signal.
select signal_id, input_hash, answer, producer, created_at
from signals_at($pinned_seq) as signals
where excluded_because is null or excluded_because = 'repeats another correction';
