-- Parameter: $pinned_seq. Which answer of two signals say is the better one, of inputs with several such pairs; a
-- correction that repeats another has a voice too. Grain: one row a pair; of ratings that make the same pair, the first.
select content_hash, signal, signal_id, input_hash, answer, rejected, producer, created_at
from pairs_at($pinned_seq) as pairs
where excluded_because is null or excluded_because = 'repeats another correction'
qualify count(*) over (partition by input_hash) > 1
    and row_number() over (partition by content_hash order by created_at, signal_id) = 1;
