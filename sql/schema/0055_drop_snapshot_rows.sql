-- Its rows are in snapshot_rows_with_pairs, which takes this name.
drop table snapshot_rows;
