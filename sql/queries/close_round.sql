-- Parameters: $round_id, $closed_at.
update rounds
set stage = 'closed', closed_at = $closed_at, lease_owner = null, lease_until = null
where round_id = $round_id;
