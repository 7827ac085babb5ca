-- Parameter: $round_id. The last round before it that came to a verdict.
select * from rounds where round_id < $round_id and verdict is not null order by round_id desc limit 1;
