-- The round that was opened last, with what its budget stopped it for (period is null where it was not stopped so).
select rounds.round_id, rounds.config_sha256, budget_holds.period, budget_holds.amount, budget_holds.spent
from rounds
left join budget_holds using (round_id)
order by rounds.round_id desc
limit 1;
