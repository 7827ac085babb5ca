-- The round that a person was asked about and that is not closed; there is at most one, as one round at most is open.
select approvals.*, rounds.stage, rounds.verdict
from approvals
join rounds using (round_id)
where rounds.stage in ('approve', 'promote')
order by round_id
limit 1;
