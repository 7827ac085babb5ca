-- Production calls. Grain: one row a call. input holds the messages as JSON; input_hash is the hash of
-- them, content_hash that of the whole record.
create table inferences (
    inference_id text primary key,
    input text not null,
    input_hash text not null,
    output text not null,
    model_version text not null,
    slices text not null,
    created_at timestamp not null,
    producer text not null,
    source text not null,
    content_hash text not null,
    ingest_seq integer not null
);
