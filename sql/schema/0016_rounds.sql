-- The state machine. Grain: one row a round. stage is the next stage to run, or closed.
-- lease_token is a fencing token: whoever holds an older one may no longer write.
create table rounds (
    round_id integer primary key,
    round_key text not null unique,
    stage text not null,
    pinned_seq integer not null,
    config_sha256 text not null,
    requested_by text not null,
    champion_version text,
    challenger_version text,
    snapshot_hash text,
    adapter_path text,
    adapter_sha256 text,
    verdict text check (verdict in ('promote', 'hold', 'reject')),
    evidence text not null default '{}',
    opened_at timestamp not null,
    closed_at timestamp,
    stage_started_at timestamp not null,
    lease_owner text,
    lease_token integer not null default 0,
    lease_until timestamp
);
