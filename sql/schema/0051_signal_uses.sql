-- What people decided about signals, whatever rules propose; never overwritten. Grain: one row a decision, of which the
-- latest on a signal counts.
create table signal_uses (
    signal_id text not null,
    use text not null check (use in ('train', 'leave out')),
    set_by text not null,
    reason text not null,
    set_at timestamp not null,
    primary key (signal_id, set_at)
);
