-- Which failure belongs to which cluster. Grain: one row a failed inference; a null cluster is noise.
create table cluster_members (
    inference_id text primary key,
    cluster_id text,
    similarity double,
    round_id integer not null
);
