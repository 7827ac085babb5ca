-- Parameter: $since, a pass over the sources. Failures that came in after it.
select count(*) as failures from failures where ingest_seq > $since;
