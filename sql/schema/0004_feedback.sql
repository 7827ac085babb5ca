-- Thumbs on inferences. Grain: one row a person, inference and moment. The inference may arrive later.
create table feedback (
    feedback_id text primary key,
    inference_id text not null,
    signal text not null check (signal in ('thumb')),
    value text not null check (value in ('up', 'down')),
    producer text not null,
    source text not null,
    created_at timestamp not null,
    content_hash text not null,
    ingest_seq integer not null
);
