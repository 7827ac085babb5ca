-- Frozen training sets. Grain: one row a snapshot; the hash is that of the file's bytes.
create table snapshots (
    snapshot_hash text primary key,
    round_id integer not null,
    path text not null,
    rows bigint not null,
    created_at timestamp not null
);
