-- Input: incoming, staged inferences of a pass. Parameter: $ingest_seq. Stores those whose id is new, each once.
insert into inferences by name
with first_of_several as (
    select inference_id, min(position) as position
    from incoming
    group by inference_id
    having count(*) > 1
),

doubled as (
    select incoming.position
    from incoming
    join first_of_several using (inference_id)
    where incoming.position > first_of_several.position
)

select
    inference_id, input, input_hash, output, model_version, slices, created_at,
    'model:' || model_version as producer, source, content_hash, $ingest_seq as ingest_seq
from incoming
where position not in (select position from doubled)
  and inference_id not in (select inference_id from inferences);
