-- Parameters: $round_id, $evidence (JSON).
update rounds set evidence = $evidence where round_id = $round_id;
