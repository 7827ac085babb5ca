-- Parameters: $round_id, $asked_at, $expires_at, $flow_run_id. A round that was asked about already stays as it is.
insert or ignore into approvals by name
select $round_id as round_id, $asked_at as asked_at, $expires_at as expires_at, $flow_run_id as flow_run_id;
