-- Parameters: $pinned_seq, $round_id, $severity (JSON: slice, value and weight of each). The clusters of the failures
-- that came in since the round before, by impact: their share of that traffic, each failure counted by the greatest
-- weight of its slices. With three examples each (the most typical ones), and how many judged rounds trained on it.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from judged_rounds where round_id < $round_id
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

severity as (
    select rule.slice, rule.value, rule.weight
    from (
        select unnest(from_json($severity, '[{"slice": "VARCHAR", "value": "VARCHAR", "weight": "DOUBLE"}]')) as rule
    )
),

weights as (
    select recent.inference_id, max(severity.weight) as weight
    from recent
    join severity
      on json_extract_string(recent.slices, '/' || replace(replace(severity.slice, '~', '~0'), '/', '~1')) = severity.value
    group by recent.inference_id
),

tried as (
    select snapshot_rows.cluster_id, count(distinct judged_rounds.round_id) as rounds
    from snapshot_rows
    join judged_rounds using (snapshot_hash)
    where judged_rounds.round_id < $round_id
      and snapshot_rows.signal = 'correction'
    group by snapshot_rows.cluster_id
),

final as (
    select
        recent.cluster_id,
        any_value(named_clusters.label) as label,
        any_value(named_clusters.label_by) as label_by,
        any_value(named_clusters.first_round) as first_round,
        count(*) as failures,
        count(*) / any_value(calls.inferences) as share_of_traffic,
        sum(coalesce(weights.weight, 1)) / any_value(calls.inferences) as impact,
        coalesce(any_value(tried.rounds), 0) as rounds_tried,
        list(
            {'input': recent.input, 'output': recent.output, 'corrected': recent.corrected_output}
            order by similarity desc, inference_id
        )[1:3] as examples
    from recent
    join named_clusters using (cluster_id)
    left join tried using (cluster_id)
    left join weights using (inference_id), calls
    group by recent.cluster_id
)

select * from final order by impact desc, failures desc, cluster_id;
