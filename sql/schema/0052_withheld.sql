-- Signals that are not trained on, by a rule that takes effect or by a person. Grain: one row a signal. is_wrong: no case
-- of the suite is made of it either.
create view withheld as
with decided as (
    select signal_id, arg_max(use, set_at) as use, arg_max(set_by, set_at) as set_by
    from signal_uses
    group by signal_id
),

proposed as (
    select signal_id, bool_or(is_wrong) as is_wrong, string_agg(replace(rule, '_', ' '), ', ' order by rule) as rules
    from proposals
    where leaves_out
    group by signal_id
),

final as (
    select
        signal_id,
        case when use = 'leave out' then 'left out by ' || set_by else 'proposed by rule: ' || rules end as reason,
        coalesce(use = 'leave out', is_wrong) as is_wrong
    from proposed
    full join decided using (signal_id)
    where use is distinct from 'train'
)

select * from final;
