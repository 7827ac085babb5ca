-- The table of the earlier name, with the columns of 0061.
alter table case_results_of_roles rename to case_results;
