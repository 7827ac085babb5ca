-- Parameter: $since, a pass over the sources. Corrections that came in after it, or whose inferences did.
select count(*) as corrections
from corrections
join inferences using (inference_id)
where greatest(corrections.ingest_seq, inferences.ingest_seq) > $since;
