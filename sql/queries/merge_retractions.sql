-- Input: incoming, staged retractions of a pass. Parameter: $ingest_seq. Stores those that are new, each once.
insert into retractions by name
with first_of_several as (
    select content_hash, min(position) as position
    from incoming
    group by content_hash
    having count(*) > 1
),

doubled as (
    select incoming.position
    from incoming
    join first_of_several using (content_hash)
    where incoming.position > first_of_several.position
)

select
    content_hash as retraction_id, inference_id, producer, reason, created_at, source, content_hash,
    $ingest_seq as ingest_seq
from incoming
where position not in (select position from doubled)
  and content_hash not in (select retraction_id from retractions);
