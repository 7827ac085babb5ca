-- How far each part of each source has been read: a file, a query. Grain: one row a source and part.
-- cursor is JSON, and the source's own matter.
create table source_cursors (
    source text not null,
    part text not null,
    cursor text not null,
    read_rows bigint not null,
    ingest_seq integer not null,
    primary key (source, part)
);
