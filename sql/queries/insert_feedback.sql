-- Input: incoming, by the columns of feedback; keys are new.
insert into feedback by name select * from incoming;
