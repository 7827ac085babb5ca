-- Parameter: $round_id. Cases whose correction has been superseded or contradicted since.
update regression_cases
set retired_round = $round_id, retired_because = signals.excluded_because
from signals
where regression_cases.retired_round is null
  and regression_cases.signal_id = signals.signal_id
  and signals.excluded_because is not null;
