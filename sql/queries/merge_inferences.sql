-- Input: incoming, staged inferences of a pass. Parameter: $ingest_seq. Stores those whose id is new, each once.
insert into inferences by name
select
    inference_id, input, input_hash, output, model_version, slices, created_at,
    'model:' || model_version as producer, source, content_hash, $ingest_seq as ingest_seq
from incoming
where position in (select min(position) from incoming group by inference_id)
  and inference_id not in (select inference_id from inferences);
