-- One pass over the sources. Grain: one row a pass.
-- ingest_seq numbers the passes; a round pins its data by it, never by clock.
-- read_rows = stored_rows + known_rows + quarantined_rows, always.
create table collections (
    ingest_seq integer primary key,
    started_at timestamp not null,
    finished_at timestamp not null,
    read_rows bigint not null,
    stored_rows bigint not null,
    known_rows bigint not null,
    quarantined_rows bigint not null,
    check (read_rows = stored_rows + known_rows + quarantined_rows)
);
