-- What people call a cluster. Grain: one row each time that somebody named one; the latest counts.
create table cluster_labels (
    cluster_id text not null,
    label text not null,
    set_by text not null,
    set_at timestamp not null,
    primary key (cluster_id, set_at)
);
