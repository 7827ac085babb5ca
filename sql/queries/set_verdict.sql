-- Parameters: $round_id, $verdict.
update rounds set verdict = $verdict where round_id = $round_id;
