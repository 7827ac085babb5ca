-- What rules propose to leave out, as last found. Grain: one row a signal and rule. leaves_out: the config lets the rule
-- take effect until a person decides otherwise; is_wrong: the answer itself is in doubt, so that no case is made of it.
create table proposals (
    signal_id text not null,
    rule text not null check (
        rule in ('suspect_label', 'over_length', 'format', 'length', 'facts', 'singleton_cluster')
    ),
    reason text not null,
    score double,
    leaves_out boolean not null,
    is_wrong boolean not null,
    primary key (signal_id, rule)
);
