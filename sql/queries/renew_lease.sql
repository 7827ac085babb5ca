-- Parameters: $round_id, $token, $until, $uptime_until. Changes nothing when the token is no longer the round's.
update rounds set lease_until = $until, uptime_until = $uptime_until where round_id = $round_id and lease_token = $token;
