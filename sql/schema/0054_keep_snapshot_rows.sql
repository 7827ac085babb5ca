-- What earlier snapshots were made of stays on the books.
insert into snapshot_rows_with_pairs by name select * from snapshot_rows;
