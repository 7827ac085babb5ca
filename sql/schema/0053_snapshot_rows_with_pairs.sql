-- What a snapshot is made of, preferences too. Grain: one row a training row; it names its source, producer and signal.
-- derived: how the row was made from others and from which model version, as JSON; null for a signal as it came in.
create table snapshot_rows_with_pairs (
    snapshot_hash text not null,
    position integer not null,
    signal text not null check (signal in ('correction', 'demonstration', 'preference')),
    signal_id text not null,
    inference_id text,
    input_hash text not null,
    content_hash text not null,
    source text not null,
    producer text not null,
    cluster_id text,
    derived text,
    primary key (snapshot_hash, position)
);
