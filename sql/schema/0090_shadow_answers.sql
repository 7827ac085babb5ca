-- What champion and challenger answered to the latest calls before the challenger served. Grain: one row a round and input.
-- inference_id: the latest call of that input; cluster_id: the class that the difference is like, null for none of them.
create table shadow_answers (
    round_id integer not null,
    inference_id text not null,
    input_hash text not null,
    input text not null,
    champion_output text not null,
    challenger_output text not null,
    differs boolean not null,
    cluster_id text,
    primary key (round_id, input_hash)
);
