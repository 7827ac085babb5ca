-- Superseded by quarantined_rows.
drop table quarantine;
