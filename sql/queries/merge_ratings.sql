-- Input: incoming, staged ratings of a pass. Parameters: $ingest_seq, $failing (the most stars that count as failed).
-- Stores those that are new, each once.
insert into ratings by name
select
    content_hash as rating_id, inference_id, value, value <= $failing as is_failing, producer, created_at, source,
    content_hash, $ingest_seq as ingest_seq
from incoming
where position in (select min(position) from incoming group by content_hash)
  and content_hash not in (select rating_id from ratings);
