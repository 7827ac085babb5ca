-- Parameters: one registered version.
insert into versions values (
    $version, $round_id, $snapshot_hash, $adapter_path, $adapter_sha256, $created_at
);
