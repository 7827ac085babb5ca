-- Input: incoming(source, path, size_bytes, modified_ns, read_rows, ingest_seq), one row a file that was read.
insert or replace into cursors by name select * from incoming;
