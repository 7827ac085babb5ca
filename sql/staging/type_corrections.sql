-- Reads parsed. Parameter: $suspicious, an expression that texts with personal data match. The rows that are whole
-- corrections, typed. Grain: one row a correction.
with typed as materialized (
    select
        row,
        record.inference_id as inference_id,
        record.corrected_output as corrected_output,
        record.producer as corrected_by,
        make_timestamp(epoch_us(try_cast(record.created_at as timestamptz))) as created_at,
        record.licence as licence,
        record.guideline as guideline
    from parsed
    where is_exact
      and record.record = 'correction'
      and record.inference_id <> ''
      and record.corrected_output <> ''
      and is_producer(record.producer)
      and is_moment(record.created_at)
      and is_answer(record.corrected_output)
      and record.licence is distinct from ''
      and record.guideline is distinct from ''
),

final as (
    select
        *,
        sha256(concat_ws(
            ' ', 'correction', len(inference_id), inference_id, len(corrected_output), corrected_output,
            len(corrected_by), corrected_by, epoch_us(created_at),
            stated('licence', licence), stated('guideline', guideline)
        )) as content_hash,
        regexp_matches(corrected_output, $suspicious) as is_suspicious
    from typed
)

select * from final;
