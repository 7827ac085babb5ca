-- Input: incoming, by the columns of cluster_members. What was noise before is given its cluster.
insert or replace into cluster_members by name select * from incoming;
