-- How classes of failures changed. Grain: one row a round, kind, and pair of clusters. split: failures of source now
-- are target's; merge: all of source's are, and source has none left.
create table cluster_changes (
    round_id integer not null,
    kind text not null check (kind in ('split', 'merge')),
    source text not null,
    target text not null,
    failures integer not null,
    primary key (round_id, kind, source, target)
);
