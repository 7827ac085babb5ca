-- Input: incoming, by the columns of quarantine; keys are new.
insert into quarantine by name select * from incoming;
