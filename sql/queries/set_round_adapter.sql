-- Parameters: $round_id, $adapter_path, $adapter_sha256.
update rounds set adapter_path = $adapter_path, adapter_sha256 = $adapter_sha256 where round_id = $round_id;
