-- Input: incoming, by the columns of case_results.
insert into case_results by name select * from incoming;
