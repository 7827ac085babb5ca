-- Parameter: $snapshot_hash.
select * from snapshots where snapshot_hash = $snapshot_hash;
