-- Inferences with a failing signal as of a pass over the sources. Grain: one row a failed inference; correction_id and
-- corrected_output are null where it was only thumbed down. Parameter: pinned, as for signals_at.
create macro failures_at(pinned) as table
with corrected as (
    select inference_id, correction_id, corrected_output, ingest_seq
    from corrections
    where excluded_because is null and ingest_seq <= pinned
    qualify row_number() over (partition by inference_id order by created_at, correction_id) = 1
),

thumbed as (
    select inference_id, min(ingest_seq) as ingest_seq
    from feedback
    where value = 'down' and ingest_seq <= pinned
    group by inference_id
),

final as (
    select
        inferences.inference_id, inferences.input, inferences.input_hash, inferences.output, inferences.slices,
        corrected.correction_id, corrected.corrected_output,
        greatest(inferences.ingest_seq, coalesce(corrected.ingest_seq, thumbed.ingest_seq)) as ingest_seq
    from inferences
    left join corrected using (inference_id)
    left join thumbed using (inference_id)
    where inferences.ingest_seq <= pinned
      and (corrected.inference_id is not null or thumbed.inference_id is not null)
)

select * from final;
