-- Parameters: $pinned_seq, $round_id. The clusters of the failures that came in since the round before, by their
-- share of that traffic, with three examples each (the most typical ones).
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from rounds where round_id < $round_id and verdict is not null
),

calls as (
    select count(*) as inferences from calls_between((select after_seq from bounds), $pinned_seq)
),

recent as (
    select failures.*, cluster_members.cluster_id, cluster_members.similarity
    from failures_at($pinned_seq) as failures
    join cluster_members using (inference_id), bounds
    where failures.ingest_seq > after_seq
      and cluster_members.cluster_id is not null
),

final as (
    select
        recent.cluster_id,
        any_value(clusters.label) as label,
        count(*) as failures,
        count(*) / any_value(calls.inferences) as share_of_traffic,
        list(
            {'input': recent.input, 'output': recent.output, 'corrected': recent.corrected_output}
            order by similarity desc, inference_id
        )[1:3] as examples
    from recent
    join clusters using (cluster_id), calls
    group by recent.cluster_id
)

select * from final order by failures desc, cluster_id;
