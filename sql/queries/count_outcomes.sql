-- Parameter: $round_id. Both models' outcomes by tier and stratum.
with paired as (
    select
        regression_cases.tier, regression_cases.stratum,
        champion.is_right as was_right, challenger.is_right as is_right
    from case_results as champion
    join case_results as challenger using (round_id, case_id)
    join regression_cases using (case_id)
    where round_id = $round_id and champion.role = 'champion' and challenger.role = 'challenger'
),

final as (
    select
        tier, stratum,
        count(*) as cases,
        count(*) filter (where was_right) as champion_right,
        count(*) filter (where is_right) as challenger_right,
        count(*) filter (where is_right and not was_right) as fixes,
        count(*) filter (where was_right and not is_right) as negative_flips
    from paired
    group by tier, stratum
)

select * from final order by tier, stratum nulls last;
