-- Parameters: $round_id, $version.
update rounds set challenger_version = $version where round_id = $round_id;
