-- The number that the next pass over the sources gets.
select coalesce(max(ingest_seq), 0) + 1 as ingest_seq from collections;
