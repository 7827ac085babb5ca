-- Parameter: $moment. The texts of rows that have lain in quarantine for long enough are removed; the books are kept.
update quarantined_rows set raw = null where expires_at <= $moment and raw is not null;
