-- Input: incoming(input_hash, group_hash), the inputs of a snapshot's rows. Parameter: $round_id. The held-out cases of the
-- suite as of the round, and what they have to do with those inputs: the same one, one of their groups of near-duplicates,
-- or a near-duplicate that is on record. Grain: one row a case.
with trained as (
    select distinct input_hash from incoming
),

groups as (
    select group_hash from incoming where group_hash is not null
    union
    select sides.group_hash from sides join trained using (input_hash)
),

beside as (
    select right_hash as input_hash from near_duplicates where left_hash in (select input_hash from trained)
    union
    select left_hash as input_hash from near_duplicates where right_hash in (select input_hash from trained)
),

final as (
    select
        regression_cases.case_id, regression_cases.input,
        regression_cases.input_hash in (select input_hash from trained) as is_same,
        coalesce(sides.group_hash in (select group_hash from groups), false) as is_grouped,
        regression_cases.input_hash in (select input_hash from beside) as is_beside
    from regression_cases
    left join sides using (input_hash)
    where regression_cases.tier <> 'fixed'
      and regression_cases.added_round <= $round_id
      and (regression_cases.retired_round is null or regression_cases.retired_round > $round_id)
)

select * from final order by case_id;
