-- Parameter: $pinned_seq. What production's calls are: how many have which slices, which right answer (the model's own
-- where nobody knows a better one: a confirmed call's is its own) and which cluster of failures. Grain: one row a slices,
-- answer and cluster.
with known as (
    select inference_id, min(answer) as answer
    from signals_at($pinned_seq) as signals
    where signal = 'correction' and excluded_because is null
    group by inference_id
)

select
    inferences.slices,
    coalesce(known.answer, inferences.output) as answer,
    case when cluster_members.inference_id is not null then coalesce(cluster_members.cluster_id, '') end as cluster_id,
    count(*) as calls
from inferences
left join known using (inference_id)
left join cluster_members using (inference_id)
where inferences.ingest_seq <= $pinned_seq
group by all;
