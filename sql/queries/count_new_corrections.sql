-- Corrections whose inference has come in, and that no round has judged yet (a round that was given up has not).
select count(*) as corrections
from corrections
join inferences using (inference_id)
where greatest(corrections.ingest_seq, inferences.ingest_seq) > (
    select coalesce(max(pinned_seq), 0) from rounds where verdict is not null
);
