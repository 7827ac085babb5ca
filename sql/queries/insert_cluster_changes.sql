-- Input: incoming, by the columns of cluster_changes.
insert into cluster_changes by name select * from incoming;
