-- Parameters: $round_id, $token. Nobody works on the round now; changes nothing when the token is no longer the round's.
update rounds set lease_owner = null, lease_until = null where round_id = $round_id and lease_token = $token;
