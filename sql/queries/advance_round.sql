-- Parameters: $round_id, $stage, $started_at.
update rounds set stage = $stage, stage_started_at = $started_at where round_id = $round_id;
