-- Parameter: $round_id. What was asked about a round, with the stage and verdict of it now.
select approvals.*, rounds.stage, rounds.verdict
from approvals
join rounds using (round_id)
where round_id = $round_id;
