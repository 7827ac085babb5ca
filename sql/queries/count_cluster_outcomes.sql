-- Parameter: $round_id. For each cluster: corrections that were trained on, unseen failures, and how many of those
-- the challenger gets right.
select
    regression_cases.cluster_id,
    count(*) filter (where tier = 'fixed') as train,
    count(*) filter (where tier = 'unseen') as unseen,
    count(*) filter (where tier = 'unseen' and is_right) as unseen_fixed
from case_results
join regression_cases using (case_id)
where case_results.round_id = $round_id
  and case_results.role = 'challenger'
  and regression_cases.added_round > (
      select coalesce(max(round_id), 0) from judged_rounds where round_id < $round_id
  )
  and regression_cases.stratum = 'failure'
  and regression_cases.cluster_id is not null
group by regression_cases.cluster_id;
