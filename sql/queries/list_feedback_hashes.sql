-- Key and content hash of every row of feedback.
select feedback_id as key, content_hash from feedback;
