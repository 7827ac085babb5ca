-- Parameter: $prefix. Rows in quarantine whose id begins so.
select * from quarantined_rows where starts_with(quarantine_id, $prefix) order by quarantine_id limit 2;
