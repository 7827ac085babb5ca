-- Parameters: $move_id, $finding, $cluster_id, $told_at.
update watch_findings
set told_at = $told_at
where move_id = $move_id and finding = $finding and cluster_id = $cluster_id;
