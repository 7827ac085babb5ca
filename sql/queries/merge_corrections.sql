-- Input: incoming, staged corrections of a pass. Parameter: $ingest_seq. Stores those that are new, each once; a
-- correction that its author revised is another row.
insert into corrections by name
select
    content_hash as correction_id, inference_id, corrected_output, corrected_by, created_at, source, content_hash,
    $ingest_seq as ingest_seq
from incoming
where position in (select min(position) from incoming group by content_hash)
  and content_hash not in (select correction_id from corrections);
