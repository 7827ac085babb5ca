-- Parameter: $round_id. What each case of a round's suite came to, a case a row: who said what is right, and each role's
-- score, whether it is right and of the right form, and its length, null where the role was not asked. is_new: the case
-- came in since the last round that was judged.
with answers as (
    select
        case_id,
        any_value({'score': score, 'is_right': is_right, 'is_valid': is_valid, 'tokens': tokens})
            filter (where role = 'champion') as champion,
        any_value({'score': score, 'is_right': is_right, 'is_valid': is_valid, 'tokens': tokens})
            filter (where role = 'challenger') as challenger,
        any_value({'score': score, 'is_right': is_right, 'is_valid': is_valid, 'tokens': tokens})
            filter (where role = 'reference') as reference,
        any_value({'score': score, 'is_right': is_right, 'is_valid': is_valid, 'tokens': tokens})
            filter (where role = 'few_shot') as few_shot,
        any_value({'score': score, 'is_right': is_right, 'is_valid': is_valid, 'tokens': tokens})
            filter (where role = 'champion_again') as again
    from case_results
    where round_id = $round_id
    group by case_id
),

final as (
    select
        regression_cases.case_id, regression_cases.tier, regression_cases.stratum,
        coalesce(sides.group_hash, regression_cases.input_hash) as "group",
        regression_cases.cluster_id as cluster, regression_cases.slices, regression_cases.producer,
        regression_cases.added_round > (
            select coalesce(max(round_id), 0) from judged_rounds where round_id < $round_id
        ) as is_new,
        answers.champion, answers.challenger, answers.reference, answers.few_shot, answers.again
    from answers
    join regression_cases using (case_id)
    left join sides using (input_hash)
    where answers.champion is not null and answers.challenger is not null
)

select * from final order by case_id;
