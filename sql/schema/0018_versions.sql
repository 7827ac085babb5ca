-- Registered models. Grain: one row a version; this, not the registry, is the truth about what a version is.
create table versions (
    version text primary key,
    round_id integer not null unique,
    snapshot_hash text not null,
    adapter_path text not null,
    adapter_sha256 text not null,
    created_at timestamp not null
);
