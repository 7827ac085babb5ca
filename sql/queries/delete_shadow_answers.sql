-- Parameter: $round_id. They are written anew as a whole.
delete from shadow_answers where round_id = $round_id;
