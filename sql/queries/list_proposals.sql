-- Parameter: $pinned_seq. What rules propose and people decided, signal by signal; the latest decision on each.
-- is_left_out: the signal is, by this rule or another one.
with decided as (
    select
        signal_id, arg_max(use, set_at) as decided_use, arg_max(set_by, set_at) as decided_by,
        arg_max(reason, set_at) as decided_because
    from signal_uses
    group by signal_id
),

final as (
    select
        signal_id, signals.signal, proposals.rule, proposals.reason, proposals.score,
        signals.input, signals.answer, signals.producer, signals.source,
        decided.decided_use, decided.decided_by, decided.decided_because,
        withheld.signal_id is not null as is_left_out
    from proposals
    full join decided using (signal_id)
    left join withheld using (signal_id)
    join signals_at($pinned_seq) as signals using (signal_id)
)

select * from final order by is_left_out desc, rule nulls first, score desc nulls last, signal_id;
