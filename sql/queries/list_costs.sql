-- Parameter: $round_id. What each stage of a round has cost so far.
select stage, seconds, gpu_seconds, tokens_trained, tokens_generated, bytes_kept
from costs
where round_id = $round_id
order by spent_at, stage;
