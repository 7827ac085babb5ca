-- Versions of the regression suite. Grain: one row a version, known by the hash of what its active cases say
-- (tasks/suite.py); first_round is the first whose suite it was. protected: cases in protected slices, of all tiers.
create table suite_versions (
    suite_hash text primary key,
    first_round integer not null,
    fixed bigint not null,
    unseen bigint not null,
    anchor bigint not null,
    protected bigint not null,
    created_at timestamp not null
);
