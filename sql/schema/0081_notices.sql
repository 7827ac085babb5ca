-- What the system noticed or decided by itself, append-only. Grain: one row a notice.
-- kind: approval_asked, approval_expired, budget, watch_worse, class_returned, rolled_back.
create table notices (
    notice_id integer primary key,
    kind text not null,
    text text not null,
    round_id integer,
    version text,
    created_at timestamp not null
);
