-- Every version that somebody made the reference, oldest first.
select version, pinned_by, reason, pinned_at from reference_pins order by pinned_at;
