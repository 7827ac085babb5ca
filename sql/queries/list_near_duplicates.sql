-- Pairs of near-duplicate inputs: enough of them to connect every group.
select left_hash, right_hash from near_duplicates;
