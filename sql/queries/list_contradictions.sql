-- Parameter: $pinned_seq. Signals that contradict each other, group by group, with what was decided on them.
select
    contradictions.group_hash, contradictions.kind, contradictions.policy, signals.signal, signals.signal_id,
    signals.input, signals.answer, signals.producer, signals.created_at,
    contradictions.reason is null as stands, contradictions.reason
from contradictions
join signals_at($pinned_seq) as signals using (signal_id)
order by contradictions.kind desc, contradictions.group_hash, signals.input_hash, signals.created_at, signals.signal_id;
