-- Failures that no round has looked at, with a hash of how each failed.
select failures.inference_id, sha256(coalesce(corrected_output, '') || '/' || coalesce(reason, '')) as seen_as
from failures
anti join cluster_members using (inference_id)
order by inference_id;
