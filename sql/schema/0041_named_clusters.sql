-- Clusters by the name that a person gave them last, else by the one that was found. Grain: one row a cluster.
create view named_clusters as
select
    clusters.cluster_id,
    coalesce(pinned.label, clusters.label) as label,
    pinned.set_by as label_by,
    clusters.first_round
from clusters
left join (
    select cluster_id, arg_max(label, set_at) as label, arg_max(set_by, set_at) as set_by
    from cluster_labels
    group by cluster_id
) as pinned using (cluster_id);
