-- Rounds that a ceiling stopped before they were judged. Grain: one row a round.
-- stage: the next stage, which was not run. period: whose ceiling it is, the round's or that of thirty days; amount: the
-- key of the ceiling in the config; spent and ceiling: in the unit of that key.
create table budget_holds (
    round_id integer primary key,
    stage text not null,
    period text not null check (period in ('round', 'month')),
    amount text not null,
    spent double not null,
    ceiling double not null,
    held_at timestamp not null
);
