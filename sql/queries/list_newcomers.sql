-- Parameter: $pinned_seq. Inputs with a usable signal, or with a better and a worse answer, and no side yet. An input that
-- failed is a failure, whatever other signals it has; its stratum is the failure's cluster.
with usable as (
    select
        input_hash,
        case
            when signal = 'correction' then 'failure'
            when stratum = 'success' then 'confirmed'
            else 'given'
        end as kind,
        coalesce(cluster_id, '') as stratum
    from signals_at($pinned_seq) as signals
    where excluded_because is null
      and input_hash not in (select input_hash from sides)
    union all
    select input_hash, kind, '' as stratum
    from paired_inputs_at($pinned_seq) as paired
    where input_hash not in (select input_hash from sides)
),

final as (
    select input_hash, kind, stratum
    from usable
    qualify row_number() over (
        partition by input_hash
        order by case kind when 'failure' then 0 when 'confirmed' then 1 else 2 end, stratum
    ) = 1
)

select * from final order by input_hash;
