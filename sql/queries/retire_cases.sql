-- Input: incoming(case_id, reason). Parameter: $round_id.
update regression_cases
set retired_round = $round_id, retired_because = incoming.reason
from incoming
where regression_cases.case_id = incoming.case_id and regression_cases.retired_round is null;
