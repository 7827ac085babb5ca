-- Inputs with their right outputs and no failure behind them. Grain: one row a demonstration.
create table demonstrations (
    demonstration_id text primary key,
    input text not null,
    input_hash text not null,
    output text not null,
    slices text not null,
    producer text not null,
    source text not null,
    created_at timestamp not null,
    content_hash text not null,
    ingest_seq integer not null
);
