-- Stars for inferences, 1 (bad) to 5. Grain: one row a person, inference and moment. The inference may arrive later.
-- is_failing: by the config of the day, so few that the call counts as failed.
create table ratings (
    rating_id text primary key,
    inference_id text not null,
    value integer not null check (value between 1 and 5),
    is_failing boolean not null,
    producer text not null,
    source text not null,
    created_at timestamp not null,
    content_hash text not null,
    ingest_seq integer not null
);
