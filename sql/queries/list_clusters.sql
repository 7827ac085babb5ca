-- Parameter: $encoder. Every cluster that was found with this encoder, with its centroid.
select cluster_id, label, centroid from clusters where encoder = $encoder order by cluster_id;
