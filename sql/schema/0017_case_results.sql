-- Each case's outcome. Grain: one row a round, role (champion or challenger) and case.
create table case_results (
    round_id integer not null,
    role text not null check (role in ('champion', 'challenger')),
    model_version text not null,
    case_id text not null,
    output text not null,
    is_right boolean not null,
    primary key (round_id, role, case_id)
);
