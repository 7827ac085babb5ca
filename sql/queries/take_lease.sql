-- Parameters: $round_id, $owner, $token, $until, $started_at, and by the owner's own clock $uptime_until, $uptime (of
-- the stage's start), null where it is not known.
update rounds
set lease_owner = $owner, lease_token = $token, lease_until = $until, uptime_until = $uptime_until,
    stage_started_at = $started_at, stage_uptime = $uptime
where round_id = $round_id;
