-- Parameters: $round_id, $protected (slices, as name=value), $limit (null: all). Cases whose verdict differs between
-- champion and challenger: what was right and is wrong now first, and of that what is protected.
-- in_snapshot: the challenger was trained on the case, or on one like it.
with flips as (
    select
        regression_cases.case_id, tier, stratum, cluster_id as cluster,
        case when challenger.is_right then 'fix' else 'negative' end as kind,
        tier = 'protected' or exists (
            select 1
            from json_each(regression_cases.slices) as slice
            where list_contains($protected::text[], slice.key || '=' || (slice.value ->> '$'))
        ) as is_protected,
        challenger.in_snapshot,
        input, expected, champion.output as champion_output, challenger.output as challenger_output
    from case_results as champion
    join case_results as challenger using (round_id, case_id)
    join regression_cases using (case_id)
    where round_id = $round_id
      and champion.role = 'champion'
      and challenger.role = 'challenger'
      and champion.is_right <> challenger.is_right
)

select *
from flips
order by kind desc, is_protected desc, tier, cluster, case_id
limit $limit;
