-- Inferences with a failing signal as of a pass over the sources. Grain: one row a failed inference; correction_id and
-- corrected_output are null where nobody has corrected it, reason says then what was found: thumb down, few stars, or
-- the rule that rejects it. What was taken back counts for nothing. Parameter: pinned, as for signals_at.
create or replace macro failures_at(pinned) as table
with retracted as (
    select * from retracted_at(pinned)
),

corrected as (
    select inference_id, correction_id, corrected_output, ingest_seq
    from corrections
    where excluded_because is null and ingest_seq <= pinned
    qualify row_number() over (partition by inference_id order by created_at, correction_id) = 1
),

said as (
    select inference_id, ingest_seq, 2 as place, 'thumb down' as reason
    from feedback
    where value = 'down' and ingest_seq <= pinned and content_hash not in (select content_hash from retracted)
    union all
    select inference_id, ingest_seq, 1 as place, 'rated ' || value || ' of 5' as reason
    from ratings
    where is_failing and ingest_seq <= pinned and content_hash not in (select content_hash from retracted)
    union all
    select inference_id, ingest_seq, 0 as place, rule || ': ' || reason as reason
    from checks
    where ingest_seq <= pinned
),

rejected as (
    select inference_id, min(ingest_seq) as ingest_seq, arg_min(reason, (place, reason)) as reason
    from said
    group by inference_id
),

final as (
    select
        inferences.inference_id, inferences.input, inferences.input_hash, inferences.output, inferences.slices,
        corrected.correction_id, corrected.corrected_output, rejected.reason,
        greatest(inferences.ingest_seq, coalesce(corrected.ingest_seq, rejected.ingest_seq)) as ingest_seq
    from inferences
    left join corrected using (inference_id)
    left join rejected using (inference_id)
    where inferences.ingest_seq <= pinned
      and (corrected.inference_id is not null or rejected.inference_id is not null)
)

select * from final;
