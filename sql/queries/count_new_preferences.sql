-- Preferences that no round has judged yet.
select count(*) as preferences
from preferences
where ingest_seq > (select coalesce(max(pinned_seq), 0) from rounds where verdict is not null);
