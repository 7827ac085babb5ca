-- Key and content hash of every row of inferences.
select inference_id as key, content_hash from inferences;
