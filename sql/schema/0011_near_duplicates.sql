-- Pairs of inputs whose texts are near-duplicates. Grain: one row an unordered pair, left hash first.
create table near_duplicates (
    left_hash text not null,
    right_hash text not null,
    jaccard double not null,
    round_id integer not null,
    primary key (left_hash, right_hash)
);
