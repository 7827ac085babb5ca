-- Signals that give one input, or near-duplicates of one another, different right answers, as last decided. Grain: one
-- row a signal and kind of contradiction. reason says why a signal is left out; null where it stands.
create table contradictions (
    signal_id text not null,
    group_hash text not null,
    kind text not null check (kind in ('same input', 'near-duplicate')),
    policy text not null,
    reason text,
    primary key (signal_id, kind)
);
