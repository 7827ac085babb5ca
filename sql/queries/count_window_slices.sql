-- Parameters: $pinned_seq, $round_id. What came in since the last round that was judged, by its slices, and how much of
-- it failed. Grain: one row a set of slices.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from judged_rounds where round_id < $round_id
)

select
    inferences.slices,
    count(*) as calls,
    count(*) filter (where inference_id in (select inference_id from failures_at($pinned_seq))) as failures
from calls_between((select after_seq from bounds), $pinned_seq)
join inferences using (inference_id)
group by inferences.slices;
