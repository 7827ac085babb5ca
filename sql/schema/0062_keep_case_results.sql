-- What earlier rounds found stays on the books.
insert into case_results_of_roles by name
select *, is_right::integer::double as score from case_results;
