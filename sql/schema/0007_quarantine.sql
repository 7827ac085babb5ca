-- Rows that could not be taken, whole, with the reason. Grain: one row a rejected line.
create table quarantine (
    quarantine_id text primary key,
    source text not null,
    path text not null,
    line bigint not null,
    reason text not null,
    raw text not null,
    created_at timestamp not null,
    ingest_seq integer not null
);
