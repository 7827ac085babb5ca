-- Parameter: $round_id. Both models' outcomes on cases that the challenger was trained on (or on ones like them), and on
-- the others; no row where that is not on record.
select
    challenger.in_snapshot,
    count(*) as cases,
    count(*) filter (where champion.is_right) as champion_right,
    count(*) filter (where challenger.is_right) as challenger_right
from case_results as champion
join case_results as challenger using (round_id, case_id)
where round_id = $round_id
  and champion.role = 'champion'
  and challenger.role = 'challenger'
  and challenger.in_snapshot is not null
group by challenger.in_snapshot
order by challenger.in_snapshot desc;
