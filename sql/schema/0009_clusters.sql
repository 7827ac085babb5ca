-- Classes of failures. Grain: one row a cluster; its id never changes, its centroid is that of its first round.
create table clusters (
    cluster_id text primary key,
    label text not null,
    encoder text not null,
    centroid float[] not null,
    first_round integer not null,
    created_at timestamp not null
);
