-- What lay in quarantine stays on the books; its text is where it came from.
insert into quarantined_rows
select quarantine_id, source, path, line, reason, null, created_at, created_at, ingest_seq, null
from quarantine;
