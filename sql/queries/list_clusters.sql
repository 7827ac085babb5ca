-- Clusters that have failures, the largest first. new_failures: those since the last round that would join it, as last found.
with joining as (
    select provisional_members.cluster_id, count(*) as failures
    from provisional_members
    anti join cluster_members using (inference_id)
    group by provisional_members.cluster_id
)

select
    named_clusters.cluster_id,
    named_clusters.label,
    named_clusters.label_by,
    count(*) as failures,
    coalesce(any_value(joining.failures), 0) as new_failures,
    named_clusters.first_round,
    max(inferences.created_at) as latest
from named_clusters
join cluster_members using (cluster_id)
join inferences using (inference_id)
left join joining on joining.cluster_id = named_clusters.cluster_id
group by named_clusters.cluster_id, named_clusters.label, named_clusters.label_by, named_clusters.first_round
order by count(*) desc, named_clusters.cluster_id;
