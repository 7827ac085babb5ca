-- Parameter: $pinned_seq. Usable rows on the training side, near-duplicates with their group. is_replayed: an earlier
-- round that was judged has trained on it. Nothing is ranked here: the rows are wide, and pass through once. Grain: one
-- row a signal.
with replayed as (
    select snapshot_rows.signal_id
    from snapshot_rows
    join judged_rounds using (snapshot_hash)
),

final as (
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
)

select * from final;
