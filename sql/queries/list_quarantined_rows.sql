-- What lies in quarantine now, the latest first.
select quarantine_id, source, part, row, reason, created_at, expires_at
from quarantined_rows
where resolved_seq is null
order by created_at desc, source, part, row;
