-- Parameters: $pinned_seq, $copies. Usable rows on the training side: of each group of near-duplicates and signal, one
-- an answer, and of those the `copies` that came in last. group_rows: how many usable ones the group has of the signal.
-- is_replayed: an earlier round that was judged has trained on it. Most groups are of one row, and are not ranked.
with replayed as (
    select snapshot_rows.signal_id
    from snapshot_rows
    join rounds using (snapshot_hash)
    where rounds.verdict is not null
),

usable as materialized (
    select
        signals.signal, signals.signal_id, signals.inference_id, signals.input, signals.input_hash, signals.answer,
        signals.slices, signals.stratum, signals.producer, signals.source, signals.content_hash, signals.cluster_id,
        signals.created_at, signals.ingest_seq, signals.signal_id in (select signal_id from replayed) as is_replayed,
        sides.group_hash
    from signals_at($pinned_seq) as signals
    join sides using (input_hash)
    where sides.side = 'train'
      and signals.excluded_because is null
      and signals.signal_id not in (select signal_id from withheld)
),

crowded as (
    select group_hash, signal, count(*) as group_rows from usable group by group_hash, signal having count(*) > 1
),

one_an_answer as (
    select
        signal, signal_id, group_hash,
        max(ingest_seq) over (partition by group_hash, signal, answer) as last_seq
    from usable
    join crowded using (group_hash, signal)
    qualify row_number() over (partition by group_hash, signal, answer order by signal_id) = 1
),

taken as (
    select signal, signal_id
    from one_an_answer
    qualify row_number() over (partition by group_hash, signal order by last_seq desc, signal_id) <= $copies
),

final as (
    select usable.* exclude (ingest_seq), coalesce(crowded.group_rows, 1) as group_rows
    from usable
    left join crowded using (group_hash, signal)
    left join taken using (signal, signal_id)
    where crowded.group_rows is null or taken.signal_id is not null
)

select * from final;
