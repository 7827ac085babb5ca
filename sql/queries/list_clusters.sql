-- Every cluster with its centroid.
select cluster_id, label, centroid from clusters order by cluster_id;
