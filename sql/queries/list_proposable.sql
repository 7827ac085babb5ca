-- Parameters: $pinned_seq, $limit, $long. Usable signals that rules look at: all corrections and given demonstrations, a
-- sample by hash of the confirmed calls, and those of more than `long` bytes. in_no_cluster: a round has looked for the
-- failure's class, and it has none.
with usable as (
    select signal, signal_id, inference_id, input, input_hash, answer, stratum
    from signals_at($pinned_seq) as signals
    where excluded_because is null
    qualify stratum is distinct from 'success'
        or row_number() over (partition by stratum order by input_hash, signal_id) <= $limit
        or strlen(input) + strlen(answer) > $long
),

sizes as (
    select cluster_id, count(*) as members from cluster_members where cluster_id is not null group by cluster_id
),

final as (
    select
        usable.* exclude (inference_id),
        cluster_members.inference_id is not null and coalesce(sizes.members, 0) < 2 as in_no_cluster
    from usable
    left join cluster_members using (inference_id)
    left join sizes using (cluster_id)
)

select * from final order by signal_id;
