-- Parameters: one pass's number, times and counts.
insert into collections values (
    $ingest_seq, $started_at, $finished_at, $read_rows, $stored_rows, $known_rows, $quarantined_rows
);
