-- What the classes of failures are known by: the last round that changed any, and how many members there are.
select coalesce(max(round_id), 0) as round_id, count(*) as members from cluster_members;
