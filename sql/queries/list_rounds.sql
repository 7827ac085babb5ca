-- All rounds, oldest first.
select * from rounds order by round_id;
