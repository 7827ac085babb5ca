-- What a snapshot is made of. Grain: one row a training row; it names its source, producer and signal.
create table snapshot_rows (
    snapshot_hash text not null,
    position integer not null,
    signal text not null check (signal in ('correction', 'demonstration')),
    signal_id text not null,
    inference_id text,
    input_hash text not null,
    content_hash text not null,
    source text not null,
    producer text not null,
    cluster_id text,
    primary key (snapshot_hash, position)
);
