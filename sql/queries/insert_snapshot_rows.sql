-- Input: incoming, by the columns of snapshot_rows. Parameter: $snapshot_hash.
insert or ignore into snapshot_rows by name select $snapshot_hash as snapshot_hash, * from incoming;
