-- Parameter: $verified_by (patterns of producers). A usable correction on the training side is trained on and kept as a
-- fixed case; one that is held out is for evaluation alone, if a trusted producer stands behind it. What is withheld is not
-- trained on, and is a case only if it is held out and its answer not in doubt.
update corrections
set use_for_training = final.use_for_training,
    use_for_eval = final.use_for_eval
from (
    select
        corrections.correction_id,
        coalesce(
            corrections.excluded_because is null and sides.side = 'train' and withheld.signal_id is null, false
        ) as use_for_training,
        coalesce(
            corrections.excluded_because is null
            and (
                (sides.side = 'train' and withheld.signal_id is null)
                or (
                    sides.side = 'unseen' and not coalesce(withheld.is_wrong, false)
                    and verified.signal_id is not null
                )
            ),
            false
        ) as use_for_eval
    from corrections
    left join sides using (input_hash)
    left join withheld on withheld.signal_id = corrections.correction_id
    left join verified_at(2147483647, $verified_by) as verified on verified.signal_id = corrections.correction_id
) as final
where corrections.correction_id = final.correction_id;
