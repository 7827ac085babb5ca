-- Parameter: $pinned_seq. Failures that no round has clustered yet.
select inference_id, input, output, corrected_output
from failures
where ingest_seq <= $pinned_seq
  and inference_id not in (select inference_id from cluster_members)
order by inference_id;
