-- Input: incoming, staged demonstrations of a pass. Parameter: $ingest_seq. Stores those whose id is new, each once.
insert into demonstrations by name
with first_of_several as (
    select demonstration_id, min(position) as position
    from incoming
    group by demonstration_id
    having count(*) > 1
),

doubled as (
    select incoming.position
    from incoming
    join first_of_several using (demonstration_id)
    where incoming.position > first_of_several.position
)

select
    demonstration_id, input, input_hash, output, slices, created_at, producer, source, content_hash,
    $ingest_seq as ingest_seq
from incoming
where position not in (select position from doubled)
  and demonstration_id not in (select demonstration_id from demonstrations);
