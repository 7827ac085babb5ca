-- Where the snapshots of versions are. Grain: one row a snapshot that a version was trained on.
select distinct snapshots.snapshot_hash, snapshots.path
from versions
join snapshots using (snapshot_hash)
order by snapshots.snapshot_hash;
