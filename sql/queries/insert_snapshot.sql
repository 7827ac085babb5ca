-- Parameters: one snapshot. The same rows give the same hash; a round that is run again finds its own.
insert or ignore into snapshots values ($snapshot_hash, $round_id, $path, $rows, $created_at);
