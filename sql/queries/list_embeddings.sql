-- Parameters: $encoder, $hashes (list). The vectors that are stored of these texts.
select text_hash, vector from embeddings where encoder = $encoder and text_hash in (select unnest($hashes));
