-- Input: incoming, by the columns of snapshot_rows. Parameter: $snapshot_hash. Rows that are there already stay; they
-- are looked for beforehand, since `or ignore` costs half a second more for a million.
insert into snapshot_rows by name
select $snapshot_hash as snapshot_hash, incoming.*
from incoming
anti join (select position from snapshot_rows where snapshot_hash = $snapshot_hash) as stored using (position);
