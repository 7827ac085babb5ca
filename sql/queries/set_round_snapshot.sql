-- Parameters: $round_id, $snapshot_hash.
update rounds set snapshot_hash = $snapshot_hash where round_id = $round_id;
