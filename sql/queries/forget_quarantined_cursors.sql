-- Parts with rows in quarantine are read again, whole, at the next pass.
delete from source_cursors
where (source, part) in (select (source, part) from quarantined_rows where resolved_seq is null);
