-- Parameters: $version, $pinned_by, $reason, $pinned_at.
insert into reference_pins values ($version, $pinned_by, $reason, $pinned_at);
