-- The known class that each failure that no round has looked at would join, null for none.
select provisional_members.inference_id, provisional_members.cluster_id
from provisional_members
anti join cluster_members using (inference_id)
order by provisional_members.inference_id;
