-- What rounds cost. Grain: one row a round and stage; attempts that were killed are counted in it.
-- gpus: CUDA devices of the stage's child, and gpu_seconds the seconds times these. tokens_trained: on which a loss was
-- taken, each as often as it was trained on. bytes_kept: files of the stage that stay when the round is closed.
-- spent_at: when something was last added.
create table costs (
    round_id integer not null,
    stage text not null,
    seconds double not null default 0 check (seconds >= 0),
    gpus integer not null default 0 check (gpus >= 0),
    gpu_seconds double not null default 0,
    tokens_trained bigint not null default 0,
    tokens_generated bigint not null default 0,
    bytes_kept bigint not null default 0,
    spent_at timestamp not null,
    primary key (round_id, stage)
);
