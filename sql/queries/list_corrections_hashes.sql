-- Key and content hash of every row of corrections.
select correction_id as key, content_hash from corrections;
