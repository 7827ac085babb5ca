-- Parameter: $round_id.
delete from case_results where round_id = $round_id;
