-- Parameters: $pinned_seq, $limit. The latest inputs as of a pass over the sources, each once, by their latest calls.
with latest as (
    select inference_id, input_hash, input, created_at
    from inferences
    where ingest_seq <= $pinned_seq
    qualify row_number() over (partition by input_hash order by created_at desc, inference_id) = 1
)

select inference_id, input_hash, input from latest order by created_at desc, inference_id limit $limit;
