-- Every version of the suite that a round had, oldest first.
select * from suite_versions order by first_round, created_at, suite_hash;
