-- Input: incoming, by the columns of corrections; keys are new.
insert into corrections by name select * from incoming;
