-- Embedding cache. Grain: one row a text (by hash) and encoder.
create table embeddings (
    text_hash text not null,
    encoder text not null,
    vector float[] not null,
    primary key (text_hash, encoder)
);
