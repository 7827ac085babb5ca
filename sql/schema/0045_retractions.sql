-- What producers take back. Grain: one row a producer, inference and moment. All that the producer said of the inference
-- before that moment is taken back; or, with a correction_id, that correction alone, whoever gave it.
create table retractions (
    retraction_id text primary key,
    inference_id text not null,
    correction_id text,
    producer text not null,
    reason text not null,
    source text not null,
    created_at timestamp not null,
    content_hash text not null,
    ingest_seq integer not null
);
