-- Parameter: $pinned_seq. Failures that belong to no cluster yet, those that were noise before among them.
select inference_id, input, output, corrected_output, reason
from failures_at($pinned_seq)
where inference_id not in (select inference_id from cluster_members where cluster_id is not null)
order by inference_id;
