-- Parameters: $round_id, $pinned_seq. Cases whose answer does not stand any more: the correction was superseded,
-- contradicted or retracted, the confirmed call was corrected or thumbed down, or its answer is in doubt.
update regression_cases
set retired_round = $round_id, retired_because = coalesce(final.excluded_because, 'its answer was found wrong')
from (
    select regression_cases.case_id, coalesce(signals.excluded_because, withheld.reason) as excluded_because
    from regression_cases
    left join signals_at($pinned_seq) as signals using (signal_id)
    left join withheld on withheld.signal_id = signals.signal_id and withheld.is_wrong
    where regression_cases.retired_round is null
      and (signals.signal_id is null or signals.excluded_because is not null or withheld.signal_id is not null)
) as final
where regression_cases.case_id = final.case_id;
