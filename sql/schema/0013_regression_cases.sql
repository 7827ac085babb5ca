-- The regression suite. Grain: one row a case; a retired case stays, with the round and the reason.
-- stratum: failure or success for cases from production, null for given demonstrations.
create table regression_cases (
    case_id text primary key,
    input text not null,
    input_hash text not null,
    expected text not null,
    tier text not null check (tier in ('anchor', 'fixed', 'unseen', 'protected')),
    stratum text check (stratum in ('failure', 'success')),
    cluster_id text,
    slices text not null,
    signal_id text not null,
    producer text not null,
    source text not null,
    added_round integer not null,
    retired_round integer,
    retired_because text
);
