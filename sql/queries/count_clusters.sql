-- How many clusters there are, whatever encoder they were found with.
select count(*) as clusters from clusters;
