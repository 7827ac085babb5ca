-- Parameter: $round_id. Cases that had been retired by the end of the round, by round, tier and reason.
select retired_round, tier, retired_because as reason, count(*) as cases
from regression_cases
where retired_round <= $round_id
group by all
order by retired_round, tier, cases desc, reason;
