-- Input: incoming, staged thumbs of a pass. Parameter: $ingest_seq. Stores those that are new, each once.
insert into feedback by name
select
    content_hash as feedback_id, inference_id, 'thumb' as signal, value, producer, created_at, source, content_hash,
    $ingest_seq as ingest_seq
from incoming
where position in (select min(position) from incoming group by content_hash)
  and content_hash not in (select feedback_id from feedback);
