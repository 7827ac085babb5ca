-- Input: incoming, in the columns of provisional_members.
insert into provisional_members by name select * from incoming;
