-- Parameter: $round_id. The inputs that a round's champion and challenger answered differently, by class.
select * from shadow_answers where round_id = $round_id and differs order by cluster_id nulls last, inference_id;
