-- Input: incoming, by the columns of demonstrations; keys are new.
insert into demonstrations by name select * from incoming;
