-- What the watches of all moves have found that Prefect has not been told of.
select * from watch_findings where told_at is null order by found_at, finding, cluster_id;
