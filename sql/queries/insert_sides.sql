-- Input: incoming(input_hash, side, reason, group_hash). Parameter: $round_id.
insert into sides by name select input_hash, side, reason, group_hash, $round_id as round_id from incoming;
