-- Parameter: $move_id. What the watch of a move has found, in the order in which it was.
select * from watch_findings where move_id = $move_id order by found_at, finding, cluster_id;
