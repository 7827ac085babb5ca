-- The table of the earlier name, with the columns of 0060.
alter table snapshot_rows_and_pairs rename to snapshot_rows;
