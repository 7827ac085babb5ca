-- Parameters: $pinned_seq, $seed, $cases. Calls that people have judged: right where somebody thumbed them up, wrong where
-- somebody corrected them or thumbed them down; what was taken back, and calls that people disagree on, are left out.
-- Grain: one row an input and output; of more than `cases`, those drawn by the seed.
with retracted as (
    select content_hash from retracted_at($pinned_seq)
),

said as (
    select inference_id, value = 'up' as is_right
    from feedback
    where ingest_seq <= $pinned_seq and producer like 'person:%' and content_hash not in (select content_hash from retracted)
    union all
    select inference_id, false as is_right
    from corrections
    where ingest_seq <= $pinned_seq
      and corrected_by like 'person:%'
      and content_hash not in (select content_hash from retracted)
      and coalesce(excluded_because, '') not in ('agrees with the model', 'superseded by its author')
),

-- Few stars are no verdict of their own here, but who gave them did not find the answer right.
doubted as (
    select inference_id
    from ratings
    where is_failing
      and ingest_seq <= $pinned_seq
      and producer like 'person:%'
      and content_hash not in (select content_hash from retracted)
),

final as (
    select
        inferences.input_hash, inferences.output, any_value(inferences.input) as input, bool_and(is_right) as is_right
    from said
    join inferences using (inference_id)
    where inferences.ingest_seq <= $pinned_seq
      and not (is_right and inference_id in (select inference_id from doubted))
    group by inferences.input_hash, inferences.output
    having count(distinct is_right) = 1
)

select * from final
order by sha256($seed || '/' || input_hash || '/' || output)
limit $cases;
