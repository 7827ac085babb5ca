-- Parameter: $moment. Rounds that a person is asked about. is_over: too late to answer. Grain: one row a round.
select round_id, asked_at, expires_at, expires_at <= $moment as is_over
from approvals
join rounds using (round_id)
where decision is null and rounds.stage = 'approve'
order by asked_at;
