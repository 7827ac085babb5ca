-- Two answers to one input and which is better. Grain: one row a preference.
create table preferences (
    preference_id text primary key,
    input text not null,
    input_hash text not null,
    chosen text not null,
    rejected text not null,
    slices text not null,
    producer text not null,
    source text not null,
    created_at timestamp not null,
    content_hash text not null,
    ingest_seq integer not null
);
