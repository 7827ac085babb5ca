-- Rounds that a person approved or rejected, oldest first; of those that wait or have expired, notices tell.
select round_id, decision, decided_by, reason, decided_at
from approvals
where decision in ('approve', 'reject')
order by decided_at, round_id;
