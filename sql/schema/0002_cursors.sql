-- How far each file of each source has been read. Grain: one row a source and file.
create table cursors (
    source text not null,
    path text not null,
    size_bytes bigint not null,
    modified_ns bigint not null,
    read_rows bigint not null,
    ingest_seq integer not null,
    primary key (source, path)
);
