-- Corrections get the cluster of their failure.
update corrections
set failure_cluster = cluster_members.cluster_id
from cluster_members
where corrections.inference_id = cluster_members.inference_id
  and corrections.failure_cluster is distinct from cluster_members.cluster_id;
