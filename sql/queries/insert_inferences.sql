-- Input: incoming, by the columns of inferences; keys are new.
insert into inferences by name select * from incoming;
