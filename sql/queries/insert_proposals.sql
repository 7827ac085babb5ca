-- Input: incoming(signal_id, rule, reason, score, leaves_out, is_wrong).
insert into proposals by name
select * from incoming;
