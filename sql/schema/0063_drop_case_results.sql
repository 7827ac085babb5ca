-- Its rows are in case_results_of_roles, which takes this name.
drop table case_results;
