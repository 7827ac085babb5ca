-- Parameter: $snapshot_hash. Each training row's origin.
select
    position, signal as kind, signal_id, inference_id, source, producer, cluster_id as cluster, input_hash, content_hash,
    derived
from snapshot_rows
where snapshot_hash = $snapshot_hash
order by position;
