-- Pairs of which one says the reverse of another about the same two answers to an input, as last decided. Grain: one row
-- a pair, by its content_hash in pairs_at. reason says why a pair is left out; null where it stands.
create table opposite_preferences (
    content_hash text primary key,
    signal text not null check (signal in ('preference', 'correction', 'rating')),
    signal_id text not null,
    group_hash text not null,
    policy text not null,
    reason text
);
