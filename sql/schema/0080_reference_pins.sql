-- Which version anchor is also held against, so that many promotions cannot each lose a little. Grain: one row each time
-- that somebody pinned one; the latest counts. A null version is the bare base model.
create table reference_pins (
    version text,
    pinned_by text not null,
    reason text not null,
    pinned_at timestamp not null,
    primary key (pinned_at)
);
