-- Parameter: $pinned_seq. Signals that are left out, by kind and reason.
with excluded as (
    select 'correction' as signal, excluded_because as reason
    from corrections
    where ingest_seq <= $pinned_seq and excluded_because is not null
    union all
    select signal, excluded_because as reason
    from signals_at($pinned_seq) as signals
    where signal = 'demonstration' and excluded_because is not null
    union all
    select signal, reason from opposite_preferences where signal = 'preference' and reason is not null
),

final as (
    select signal, reason, count(*) as rows from excluded group by signal, reason
)

select * from final order by rows desc, signal, reason;
