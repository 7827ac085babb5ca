-- Parameter: $since, a pass over the sources. Preferences that came in after it.
select count(*) as preferences from preferences where ingest_seq > $since;
