-- What a model answered at positive temperature, to derive pairs from. Grain: one row an input, what gave the answers, and
-- place among them, from 0. sampled_by: hash of the model, engine, lengths, temperature, number and seed, and of the calls
-- of tools that the answers were held against. is_whole: the answer ended by itself, before it was cut off.
create table candidates (
    input_hash text not null,
    sampled_by text not null,
    place integer not null,
    model_version text not null,
    output text not null,
    is_whole boolean not null,
    primary key (input_hash, sampled_by, place)
);
