-- Parameter: $pinned_seq. Every pair of a better and a worse answer: preferences that are no ties, and corrections with
-- what the model said. Grain: one row a pair.
select preference_id as signal_id, input, chosen, rejected
from preferences
left join details using (content_hash)
where degree is distinct from 0 and ingest_seq <= $pinned_seq
union all
select signal_id, signals.input, answer as chosen, inferences.output as rejected
from signals_at($pinned_seq) as signals
join inferences using (inference_id)
where signal = 'correction' and excluded_because is null and signal_id not in (select signal_id from withheld)
order by signal_id;
