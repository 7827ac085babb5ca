-- Parameter: $round_id. The suite as of the round, by tier and stratum.
select tier, stratum, count(*) as cases
from regression_cases
where added_round <= $round_id and (retired_round is null or retired_round > $round_id)
group by tier, stratum
order by tier, stratum nulls last;
