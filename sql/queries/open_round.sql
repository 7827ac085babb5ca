-- The round that is not closed; there is at most one.
select * from rounds where stage <> 'closed' order by round_id limit 1;
