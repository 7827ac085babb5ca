-- Parameters: one correction that is taken back, by whom and why, and the pass that this is on the books as.
insert into retractions by name
select
    $content_hash as retraction_id, $inference_id as inference_id, $correction_id as correction_id,
    $producer as producer, $reason as reason, $source as source, $created_at as created_at,
    $content_hash as content_hash, $ingest_seq as ingest_seq;
