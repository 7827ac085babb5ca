-- Parameter: $round_id. By tier and stratum, the cases that the champion was asked with corrections in its prompt, and how
-- many of them it gets right so, without them, and the challenger; no row where that was not asked.
select
    regression_cases.tier, regression_cases.stratum,
    count(*) as cases,
    count(*) filter (where few_shot.is_right) as few_shot_right,
    count(*) filter (where champion.is_right) as champion_right,
    count(*) filter (where challenger.is_right) as challenger_right
from case_results as few_shot
join case_results as champion using (round_id, case_id)
join case_results as challenger using (round_id, case_id)
join regression_cases using (case_id)
where round_id = $round_id
  and few_shot.role = 'few_shot'
  and champion.role = 'champion'
  and challenger.role = 'challenger'
group by regression_cases.tier, regression_cases.stratum
order by regression_cases.tier, regression_cases.stratum nulls last;
