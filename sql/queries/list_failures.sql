-- Parameters: $pinned_seq, $round_id. Every failure with its cluster so far, if it has one; was_seen says that it was
-- looked at before, and is_recent that it came in since the last judged round.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from judged_rounds where round_id < $round_id
)

select
    failures.inference_id, failures.input, failures.output, failures.corrected_output, failures.reason,
    cluster_members.cluster_id,
    cluster_members.inference_id is not null as was_seen,
    failures.ingest_seq > bounds.after_seq as is_recent
from failures_at($pinned_seq) as failures
left join cluster_members using (inference_id), bounds
order by failures.inference_id;
