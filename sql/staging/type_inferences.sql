-- Reads parsed. Parameter: $suspicious, an expression that texts with personal data match. The rows that are whole
-- inferences, typed. Grain: one row a inference.
with typed as materialized (
    select
        row,
        record.inference_id as inference_id,
        to_json(record.messages)::varchar as input,
        record.output as output,
        record.model_version as model_version,
        coalesce(record.slices::varchar, '{}') as slices,
        make_timestamp(epoch_us(try_cast(record.created_at as timestamptz))) as created_at,
        record.licence as licence,
        record.guideline as guideline
    from parsed
    where is_exact
      and record.record = 'inference'
      and record.inference_id <> ''
      and len(record.messages) > 0
      and record.messages[-1].role = 'user'
      and len(list_filter(
          record.messages, m -> m.role not in ('system', 'user', 'assistant') or coalesce(m.content, '') = ''
      )) = 0
      and record.output is not null
      and record.model_version <> ''
      and is_moment(record.created_at)
      and is_answer(record.output)
      and record.tools is null
      and record.licence is distinct from ''
      and record.guideline is distinct from ''
      and is_slices(record.slices)
),

hashed as materialized (
    select *, sha256(input) as input_hash from typed
),

final as (
    select
        *,
        sha256(concat_ws(
            ' ', 'inference', len(inference_id), inference_id, input_hash, len(output), output,
            len(model_version), model_version, epoch_us(created_at), slices,
            stated('licence', licence), stated('guideline', guideline)
        )) as content_hash,
        regexp_matches(input, $suspicious) or regexp_matches(output, $suspicious) as is_suspicious
    from hashed
)

select * from final;
