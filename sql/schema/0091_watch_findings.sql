-- What the watch of a promotion found, and never takes back. Grain: one row a move of the champion, finding and class.
-- worse: production fails more often than before; class_worse: one class of failures does; class_returned: a class that
-- the version's suite said was fixed fails more often than that allows; rolled_back: the move that the watch made itself.
-- cluster_id is empty for all classes together. numbers: JSON of what was counted. told_at: when Prefect was told.
create table watch_findings (
    move_id text not null,
    finding text not null check (finding in ('worse', 'class_worse', 'class_returned', 'rolled_back')),
    cluster_id text not null default '',
    said text not null,
    numbers text not null,
    found_at timestamp not null,
    told_at timestamp,
    primary key (move_id, finding, cluster_id)
);
