-- Parameter: $round_id. The splits and merges of a round, with the names of both clusters.
select
    changes.kind, changes.source, changes.target, changes.failures,
    sources.label as source_label, targets.label as target_label
from cluster_changes as changes
join named_clusters as sources on sources.cluster_id = changes.source
join named_clusters as targets on targets.cluster_id = changes.target
where changes.round_id = $round_id
order by changes.kind, changes.failures desc, changes.source, changes.target;
