-- Parameter: $round_id. Both models' outcomes on the unseen cases of the traffic since the last round that was judged,
-- by stratum and producer: older
-- cases say what earlier traffic was like, and under another champion.
with paired as (
    select regression_cases.stratum, regression_cases.producer, champion.is_right as was_right, challenger.is_right as is_right
    from case_results as champion
    join case_results as challenger using (round_id, case_id)
    join regression_cases using (case_id)
    where round_id = $round_id
      and champion.role = 'champion'
      and challenger.role = 'challenger'
      and regression_cases.tier = 'unseen'
      and regression_cases.added_round > (
          select coalesce(max(round_id), 0) from rounds where round_id < $round_id and verdict is not null
      )
),

final as (
    select
        stratum, producer,
        count(*) as cases,
        count(*) filter (where was_right) as champion_right,
        count(*) filter (where is_right and not was_right) as fixes,
        count(*) filter (where was_right and not is_right) as negative_flips
    from paired
    group by stratum, producer
)

select * from final;
