-- Parameters: $round_id, $owner, $token, $until, $started_at.
update rounds
set lease_owner = $owner, lease_token = $token, lease_until = $until, stage_started_at = $started_at
where round_id = $round_id;
