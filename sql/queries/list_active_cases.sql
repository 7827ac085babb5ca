-- Parameter: $round_id. The suite as of the round.
select *
from regression_cases
where added_round <= $round_id and (retired_round is null or retired_round > $round_id)
order by case_id;
