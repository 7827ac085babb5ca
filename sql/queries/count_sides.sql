-- Parameter: $round_id. Inputs that got their side in the round, by side.
select side, count(*) as inputs from sides where round_id = $round_id group by side order by inputs desc, side;
