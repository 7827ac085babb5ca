-- Input: incoming, staged demonstrations of a pass. Parameter: $ingest_seq. Stores those whose id is new, each once.
insert into demonstrations by name
select
    demonstration_id, input, input_hash, output, slices, created_at, producer, source, content_hash,
    $ingest_seq as ingest_seq
from incoming
where position in (select min(position) from incoming group by demonstration_id)
  and demonstration_id not in (select demonstration_id from demonstrations);
