-- Input: incoming, by the columns of cluster_members.
insert into cluster_members by name select * from incoming;
