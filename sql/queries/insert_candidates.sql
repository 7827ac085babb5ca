-- Input: incoming, by the columns of candidates.
insert into candidates by name select * from incoming;
