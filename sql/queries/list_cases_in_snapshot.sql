-- Parameter: $snapshot_hash. Cases, retired ones too, whose input is in the snapshot, or a near-duplicate of it: one of its
-- group, or one that is on record as a pair. Grain: one row a case.
with trained as (
    select distinct snapshot_rows.input_hash, sides.group_hash
    from snapshot_rows
    left join sides using (input_hash)
    where snapshot_rows.snapshot_hash = $snapshot_hash
),

beside as (
    select right_hash as input_hash from near_duplicates where left_hash in (select input_hash from trained)
    union all
    select left_hash as input_hash from near_duplicates where right_hash in (select input_hash from trained)
),

final as (
    select regression_cases.case_id
    from regression_cases
    left join sides using (input_hash)
    where regression_cases.input_hash in (select input_hash from trained)
       or coalesce(sides.group_hash in (select group_hash from trained where group_hash is not null), false)
       or regression_cases.input_hash in (select input_hash from beside)
)

select * from final order by case_id;
