-- Input: incoming, staged preferences of a pass. Parameter: $ingest_seq. Stores those whose id is new, each once.
insert into preferences by name
with first_of_several as (
    select preference_id, min(position) as position
    from incoming
    group by preference_id
    having count(*) > 1
),

doubled as (
    select incoming.position
    from incoming
    join first_of_several using (preference_id)
    where incoming.position > first_of_several.position
)

select
    preference_id, input, input_hash, chosen, rejected, slices, created_at, producer, source,
    content_hash, $ingest_seq as ingest_seq
from incoming
where position not in (select position from doubled)
  and preference_id not in (select preference_id from preferences);
