-- The side of each input, drawn once and for ever. Grain: one row an input.
-- side none: left out of training and evaluation, for the reason given.
-- group_hash names its group of near-duplicates.
create table sides (
    input_hash text primary key,
    side text not null check (side in ('train', 'unseen', 'anchor', 'none')),
    reason text not null,
    group_hash text not null,
    round_id integer not null
);
