-- Parameter: $found_by. Failures that no round has looked at and whose class is not on record as of these classes, and those
-- on record that are none of these any more.
with waiting as (
    select failures.inference_id, sha256(coalesce(corrected_output, '') || '/' || coalesce(reason, '')) as seen_as
    from failures
    anti join cluster_members using (inference_id)
),

placed as (
    select inference_id, seen_as from provisional_members where found_by = $found_by
),

stale as (
    select inference_id from provisional_members where found_by <> $found_by
)

select count(*) as failures
from (
    select inference_id from waiting anti join placed using (inference_id, seen_as)
    union all
    select inference_id from placed anti join waiting using (inference_id, seen_as)
    union all
    select inference_id from stale
);
