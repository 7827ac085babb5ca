-- Input: incoming, in the columns of shadow_answers.
insert into shadow_answers by name select * from incoming;
