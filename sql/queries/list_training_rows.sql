-- Parameters: $pinned_seq, $copies. Usable rows on the training side: of each group of near-duplicates and signal, one
-- an answer, and of those the `copies` that came in last. group_rows: how many usable ones the group has of the signal.
with one_an_answer as (
    select
        signals.signal, signals.signal_id, signals.inference_id, signals.input, signals.input_hash, signals.answer,
        signals.slices, signals.stratum, signals.producer, signals.source, signals.content_hash, signals.cluster_id,
        sides.group_hash,
        count(*) over (partition by sides.group_hash, signals.signal) as group_rows,
        max(signals.ingest_seq) over (partition by sides.group_hash, signals.signal, signals.answer) as last_seq
    from signals_at($pinned_seq) as signals
    join sides using (input_hash)
    where sides.side = 'train'
      and signals.excluded_because is null
      and signals.signal_id not in (select signal_id from withheld)
    qualify row_number() over (
        partition by sides.group_hash, signals.signal, signals.answer order by signals.signal_id
    ) = 1
),

final as (
    select * exclude (last_seq)
    from one_an_answer
    qualify row_number() over (partition by group_hash, signal order by last_seq desc, signal_id) <= $copies
)

select * from final order by signal_id;
