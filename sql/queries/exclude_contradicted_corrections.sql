-- Corrections that do not stand in a contradiction are left out.
update corrections
set excluded_because = final.reason
from (
    select signal_id, min(reason) as reason
    from contradictions
    where reason is not null
    group by signal_id
) as final
where corrections.correction_id = final.signal_id;
