-- Every pair of near-duplicate inputs.
select left_hash, right_hash from near_duplicates;
