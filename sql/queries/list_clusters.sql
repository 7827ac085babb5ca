-- Clusters that have failures, the largest first.
select
    named_clusters.cluster_id,
    named_clusters.label,
    named_clusters.label_by,
    count(*) as failures,
    named_clusters.first_round,
    max(inferences.created_at) as latest
from named_clusters
join cluster_members using (cluster_id)
join inferences using (inference_id)
group by all
order by failures desc, named_clusters.cluster_id;
