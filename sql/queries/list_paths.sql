-- Every path of an adapter or a snapshot's file that is on record; is_needed: a version has it.
select adapter_path as path, true as is_needed from versions
union
select snapshots.path, true from versions join snapshots using (snapshot_hash)
union
select adapter_path, false from rounds where adapter_path not in (select adapter_path from versions)
union
select path, false from snapshots where snapshot_hash not in (select snapshot_hash from versions);
