-- Input: incoming, by the columns of clusters.
insert into clusters by name select * from incoming;
