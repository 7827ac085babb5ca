-- Parameter: $round_id. Cases whose verdict differs between champion and challenger, negative ones first.
select
    regression_cases.case_id, tier, stratum, cluster_id as cluster,
    case when challenger.is_right then 'fix' else 'negative' end as kind,
    input, expected, champion.output as champion_output, challenger.output as challenger_output
from case_results as champion
join case_results as challenger using (round_id, case_id)
join regression_cases using (case_id)
where round_id = $round_id
  and champion.role = 'champion'
  and challenger.role = 'challenger'
  and champion.is_right <> challenger.is_right
order by kind desc, tier, cluster, case_id;
