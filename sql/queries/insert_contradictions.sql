-- Input: incoming(signal_id, group_hash, kind, policy, reason), what was decided on signals that contradict each other.
insert into contradictions by name
select * from incoming;
