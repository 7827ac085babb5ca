-- Parameters: $round_id, $stage, $started_at, $uptime (null where this is not the machine of the lease's owner).
update rounds set stage = $stage, stage_started_at = $started_at, stage_uptime = $uptime where round_id = $round_id;
