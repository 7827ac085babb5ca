-- Parameters: $round_id, $closed_at. Close the round without a verdict.
update rounds
set stage = 'closed', verdict = null, closed_at = $closed_at, lease_owner = null, lease_until = null
where round_id = $round_id;
