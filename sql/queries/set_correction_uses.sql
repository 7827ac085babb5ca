-- A usable correction on the training side is trained on and kept as a fixed case; one that is held out is for
-- evaluation alone.
update corrections
set use_for_training = final.use_for_training,
    use_for_eval = final.use_for_eval
from (
    select
        corrections.correction_id,
        coalesce(corrections.excluded_because is null and sides.side = 'train', false) as use_for_training,
        coalesce(corrections.excluded_because is null and sides.side in ('train', 'unseen'), false) as use_for_eval
    from corrections
    left join sides using (input_hash)
) as final
where corrections.correction_id = final.correction_id;
