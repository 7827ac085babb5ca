-- Parameters: $round_id (null: any), $since (null: ever). What was spent in all; zeros where nothing was.
select
    coalesce(sum(seconds), 0) as seconds,
    coalesce(sum(gpu_seconds), 0) as gpu_seconds,
    coalesce(sum(tokens_trained), 0)::bigint as tokens_trained,
    coalesce(sum(tokens_generated), 0)::bigint as tokens_generated,
    coalesce(sum(bytes_kept), 0)::bigint as bytes_kept
from costs
where ($round_id::integer is null or round_id = $round_id)
  and ($since::timestamp is null or spent_at >= $since);
