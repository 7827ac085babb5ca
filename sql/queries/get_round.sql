-- Parameter: $round_id.
select * from rounds where round_id = $round_id;
