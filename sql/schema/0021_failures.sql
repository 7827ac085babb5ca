-- Inferences with a failing signal. Grain: one row a failed inference; correction_id and corrected_output are null
-- where it was only thumbed down.
create view failures as
with corrected as (
    select inference_id, correction_id, corrected_output, ingest_seq
    from corrections
    where input_hash is not null and excluded_because is null
),

thumbed as (
    select inference_id, min(ingest_seq) as ingest_seq
    from feedback
    where value = 'down'
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
    where corrected.inference_id is not null or thumbed.inference_id is not null
)

select * from final;
