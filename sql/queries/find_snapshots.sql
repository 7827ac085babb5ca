-- Parameters: $version, $prefix. The snapshot of a version if there is one, else those whose hash begins so.
with of_version as (
    select snapshot_hash from versions where version = $version
)

select snapshot_hash, path
from snapshots
where snapshot_hash in (select snapshot_hash from of_version)
   or (starts_with(snapshot_hash, $prefix) and not exists (select 1 from of_version))
order by snapshot_hash;
