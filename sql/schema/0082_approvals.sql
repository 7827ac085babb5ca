-- Rounds that a person was asked about, after the gate said promote. Grain: one row a round. decision is null while it waits;
-- it is written once. flow_run_id is the Prefect flow run that is suspended meanwhile, where there is one.
create table approvals (
    round_id integer primary key,
    asked_at timestamp not null,
    expires_at timestamp not null,
    decision text check (decision in ('approve', 'reject', 'expired')),
    decided_by text,
    reason text,
    decided_at timestamp,
    flow_run_id text
);
