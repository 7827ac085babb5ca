-- Input: incoming(left_hash, right_hash, jaccard, cosine). Parameter: $round_id. Pairs that are known stay as they are.
insert or ignore into near_duplicates by name
select left_hash, right_hash, jaccard, cosine, $round_id as round_id from incoming;
