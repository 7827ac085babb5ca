-- Outputs that a rule of the config rejects. Grain: one row an inference and rule.
create table checks (
    inference_id text not null,
    rule text not null,
    reason text not null,
    ingest_seq integer not null,
    primary key (inference_id, rule)
);
