-- Input: incoming(source, part, quarantine_ids), one row a part that was read whole, with what was rejected in it.
-- Parameter: $ingest_seq. Whatever else lay in quarantine from there is mended or gone.
update quarantined_rows
set resolved_seq = $ingest_seq
from incoming
where quarantined_rows.source = incoming.source
  and quarantined_rows.part = incoming.part
  and quarantined_rows.resolved_seq is null
  and not list_contains(incoming.quarantine_ids, quarantined_rows.quarantine_id);
