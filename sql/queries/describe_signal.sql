-- Parameter: $signal_id. What speaks for and against training on a signal: why it is left out, its side, whether it came
-- in after the last blend, and whether a near-duplicate of it has been trained on. Nothing for what is no signal any more.
with known as (
    select 'correction' as kind, correction_id as signal_id, excluded_because, input_hash, ingest_seq from corrections
    union all
    select signal, signal_id, excluded_because, input_hash, ingest_seq
    from signals_at(2147483647) as signals
    where signal = 'demonstration'
    union all
    select 'preference', preference_id, opposite_preferences.reason, input_hash, ingest_seq
    from preferences
    left join opposite_preferences using (content_hash)
),

blended as (
    select coalesce(max(pinned_seq), 0) as pinned_seq from rounds where snapshot_hash is not null
),

trained_groups as (
    select distinct sides.group_hash from snapshot_rows join sides using (input_hash)
)

select
    known.kind, known.excluded_because, known.input_hash is not null as has_input, sides.side, sides.reason,
    known.ingest_seq > blended.pinned_seq as is_new, trained_groups.group_hash is not null as has_copy
from known
cross join blended
left join sides using (input_hash)
left join trained_groups using (group_hash)
where known.signal_id = $signal_id;
