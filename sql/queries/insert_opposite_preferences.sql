-- Input: incoming(content_hash, signal, signal_id, group_hash, policy, reason), what was decided on pairs of which one
-- says the reverse of another.
insert into opposite_preferences by name
select * from incoming;
