-- That enough was new for a round, as Prefect was told (the event flywheel.corrections.enough). Grain: one row for each
-- judged_seq, the last pass over the sources that a judged round had seen by then: said once until a round is judged.
create table announcements (
    judged_seq bigint primary key,
    new_signals integer not null,
    announced_at timestamp not null
);
