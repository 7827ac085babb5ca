-- Parameters: $round_id, $pinned_seq, $verified_by (patterns of producers). Cases whose answer does not stand any more: the
-- correction was superseded, contradicted or retracted, the confirmed call was corrected or thumbed down, its answer is in
-- doubt, or, of a held-out case, nobody who is trusted stands behind it. One of a preference goes where that does not stand
-- against an opposite one.
update regression_cases
set retired_round = $round_id, retired_because = coalesce(final.excluded_because, 'its answer was found wrong')
from (
    select
        regression_cases.case_id,
        coalesce(
            signals.excluded_because, withheld.reason, opposed.reason,
            case when signals.signal_id is not null then 'no trusted producer stands behind its answer' end
        ) as excluded_because
    from regression_cases
    left join signals_at($pinned_seq) as signals using (signal_id)
    left join withheld on withheld.signal_id = signals.signal_id and withheld.is_wrong
    left join verified_at($pinned_seq, $verified_by) as verified
        on verified.signal_id = signals.signal_id
    left join preferences on preferences.preference_id = regression_cases.signal_id
    left join (select distinct content_hash, reason from opposite_preferences where reason is not null) as opposed
        on opposed.content_hash = preferences.content_hash
    where regression_cases.retired_round is null
      and (
          (signals.signal_id is null and preferences.preference_id is null)
          or opposed.reason is not null
          or signals.excluded_because is not null
          or withheld.signal_id is not null
          or (verified.signal_id is null and preferences.preference_id is null and regression_cases.tier <> 'fixed')
      )
) as final
where regression_cases.case_id = final.case_id;
