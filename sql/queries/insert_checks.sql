-- Input: incoming(output, rule, reason), outputs that a rule rejects. Parameter: $ingest_seq.
insert into checks by name
select inferences.inference_id, incoming.rule, incoming.reason, $ingest_seq as ingest_seq
from incoming
join inferences using (output)
where inferences.ingest_seq = $ingest_seq;
