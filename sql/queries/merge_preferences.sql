-- Input: incoming, staged preferences of a pass. Parameter: $ingest_seq. Stores those whose id is new, each once.
insert into preferences by name
select
    preference_id, input, input_hash, chosen, rejected, slices, created_at, producer, source,
    content_hash, $ingest_seq as ingest_seq
from incoming
where position in (select min(position) from incoming group by preference_id)
  and preference_id not in (select preference_id from preferences);
