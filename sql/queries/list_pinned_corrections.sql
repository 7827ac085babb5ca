-- Parameter: $pinned_seq. The texts by which corrections are compared.
select correction_id, model_output, corrected_output from corrections where ingest_seq <= $pinned_seq;
