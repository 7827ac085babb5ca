-- The table of the earlier name, with the columns of 0053.
alter table snapshot_rows_with_pairs rename to snapshot_rows;
