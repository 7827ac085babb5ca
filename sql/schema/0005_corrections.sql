-- What should have been produced, and by whom. Grain: one row a version of a correction; never overwritten.
-- input, input_hash and model_output stay null until the inference has arrived.
create table corrections (
    correction_id text primary key,
    inference_id text not null,
    input text,
    input_hash text,
    model_output text,
    corrected_output text not null,
    corrected_by text not null,
    failure_cluster text,
    use_for_training boolean not null default false,
    use_for_eval boolean not null default false,
    excluded_because text,
    source text not null,
    created_at timestamp not null,
    content_hash text not null,
    ingest_seq integer not null
);
