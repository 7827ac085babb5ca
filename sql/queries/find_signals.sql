-- Parameter: $prefix. The ids of signals that begin so, known now or trained on once; the one that is meant whole alone.
with known as (
    select correction_id as signal_id from corrections
    union
    select signal_id from signals_at(2147483647) as signals
    union
    select preference_id from preferences
    union
    select signal_id from snapshot_rows
),

final as (
    select signal_id
    from known
    where starts_with(signal_id, $prefix)
    qualify signal_id = $prefix or not bool_or(signal_id = $prefix) over ()
)

select signal_id from final order by signal_id limit 3;
