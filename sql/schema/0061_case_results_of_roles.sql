-- Each case's outcome. Grain: one row a round, role and case. reference: the pinned version that anchor is also held
-- against; few_shot: the champion with corrections in its prompt; champion_again: a second run of the champion, which
-- shows what differs between runs of one model.
-- score: 0 to 1, by the workload's scorer. is_valid: the output is of the form that the workload asks for.
-- tokens: length of the output. in_snapshot: the model was trained on the case's input, or on a near-duplicate of it.
-- answered_by: hash of model, decoding and engine; suite_hash: the suite as it was run. Null in rows of earlier rounds.
create table case_results_of_roles (
    round_id integer not null,
    role text not null check (role in ('champion', 'challenger', 'reference', 'few_shot', 'champion_again')),
    model_version text not null,
    case_id text not null,
    output text not null,
    score double not null check (score between 0 and 1),
    is_right boolean not null,
    is_valid boolean not null default true,
    tokens integer,
    in_snapshot boolean,
    answered_by text,
    suite_hash text,
    primary key (round_id, role, case_id)
);
