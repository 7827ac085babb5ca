-- The side of every input that has one.
select input_hash, side, reason, group_hash from sides;
