-- Parameters: $round_id, $limit. Both models' outcomes on held-out cases by slice (as name=value), the largest slices.
with slices as (
    select
        slice.key || '=' || (slice.value ->> '$') as slice,
        champion.is_right as was_right, challenger.is_right as is_right
    from case_results as champion
    join case_results as challenger using (round_id, case_id)
    join regression_cases using (case_id), json_each(regression_cases.slices) as slice
    where round_id = $round_id
      and champion.role = 'champion'
      and challenger.role = 'challenger'
      and tier <> 'fixed'
)

select
    slice,
    count(*) as cases,
    count(*) filter (where was_right) as champion_right,
    count(*) filter (where is_right) as challenger_right
from slices
group by slice
order by cases desc, slice
limit $limit;
