-- Key and content hash of every row of demonstrations.
select demonstration_id as key, content_hash from demonstrations;
