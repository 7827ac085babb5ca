-- Input: incoming(source, part, cursor, read_rows, ingest_seq), one row a part that was read.
insert or replace into source_cursors by name select * from incoming;
