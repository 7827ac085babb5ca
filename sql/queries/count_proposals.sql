-- Parameter: $pinned_seq. How many signals each rule proposes to leave out, how many of them are, and how many a person
-- decided on otherwise; a row without a rule counts what a person alone left out.
with decided as (
    select signal_id, arg_max(use, set_at) as use from signal_uses group by signal_id
),

final as (
    select
        signals.signal, proposals.rule,
        count(*) as proposed,
        count(*) filter (where coalesce(decided.use = 'leave out', proposals.leaves_out)) as left_out,
        count(*) filter (where proposals.leaves_out and decided.use = 'train') as overruled
    from proposals
    full join decided using (signal_id)
    join signals_at($pinned_seq) as signals using (signal_id)
    where proposals.rule is not null or decided.use = 'leave out'
    group by signals.signal, proposals.rule
)

select * from final order by left_out desc, proposed desc, signal, rule nulls last;
