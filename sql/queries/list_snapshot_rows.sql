-- Parameter: $snapshot_hash. Each training row's origin, with the licence and guideline that are known of it.
with stated as (
    select signal_id, any_value(licence) as licence, any_value(guideline) as guideline
    from signals_at(2147483647)
    where licence is not null or guideline is not null
    group by signal_id
)

select
    position, signal as kind, signal_id, inference_id, source, producer, cluster_id as cluster, input_hash, content_hash,
    derived,
    licence, guideline
from snapshot_rows
left join stated using (signal_id)
where snapshot_hash = $snapshot_hash
order by position;
