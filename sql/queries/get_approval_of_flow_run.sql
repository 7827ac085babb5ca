-- Parameter: $flow_run_id. The round that a flow run asked about; a run asks about one at most.
select * from approvals where flow_run_id = $flow_run_id order by round_id desc limit 1;
