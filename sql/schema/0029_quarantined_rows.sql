-- Rows that could not be taken, with the reason. Grain: one row a rejected row of a source's part.
-- raw is redacted as far as it goes, and null once it has expired; resolved_seq is the pass in which the row of that
-- place was found mended or gone.
create table quarantined_rows (
    quarantine_id text primary key,
    source text not null,
    part text not null,
    row bigint not null,
    reason text not null,
    raw text,
    created_at timestamp not null,
    expires_at timestamp not null,
    ingest_seq integer not null,
    resolved_seq integer
);
