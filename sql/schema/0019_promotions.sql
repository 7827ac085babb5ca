-- Audit log of alias moves, append-only. Grain: one row an event; a move is written as intended before it is
-- made and as moved after. A null version is the bare base model.
create table promotions (
    promotion_id integer primary key,
    move_id text not null,
    event text not null check (event in ('intended', 'moved')),
    from_version text,
    to_version text,
    moved_by text not null,
    reason text not null,
    round_id integer,
    created_at timestamp not null
);
