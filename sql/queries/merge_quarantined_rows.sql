-- Input: incoming, by the columns of quarantined_rows. A row that lies there already stays as it is.
insert or ignore into quarantined_rows by name select * from incoming;
