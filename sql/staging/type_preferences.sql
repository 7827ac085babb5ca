-- Reads parsed. Parameter: $suspicious, an expression that texts with personal data match. The rows that are whole
-- preferences, typed. Grain: one row a preference.
with typed as materialized (
    select
        row,
        record.preference_id as preference_id,
        to_json(record.messages)::varchar as input,
        record.chosen as chosen,
        record.rejected as rejected,
        record.producer as producer,
        coalesce(record.slices::varchar, '{}') as slices,
        make_timestamp(epoch_us(try_cast(record.created_at as timestamptz))) as created_at,
        record.scale as scale,
        record.degree as degree,
        record.rubric as rubric,
        record.is_close as is_close,
        record.licence as licence,
        record.guideline as guideline
    from parsed
    where is_exact
      and record.record = 'preference'
      and record.preference_id <> ''
      and len(record.messages) > 0
      and record.messages[-1].role = 'user'
      and len(list_filter(
          record.messages, m -> m.role not in ('system', 'user', 'assistant') or coalesce(m.content, '') = ''
      )) = 0
      and record.chosen <> ''
      and record.rejected is not null
      and is_producer(record.producer)
      and is_moment(record.created_at)
      and (record.scale is not null or record.degree is null)
      and coalesce(record.scale in (5, 8), true)
      and coalesce(record.degree between if(record.scale = 5, 0, 1) and if(record.scale = 5, 2, 4), true)
      and record.rubric is distinct from ''
      and is_answer(record.chosen)
      and is_answer(record.rejected)
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
            ' ', 'preference', len(preference_id), preference_id, input_hash, len(chosen), chosen,
            len(rejected), rejected, len(producer), producer, epoch_us(created_at), slices,
            stated('scale', scale), stated('degree', degree), stated('rubric', rubric), stated('is_close', is_close),
            stated('licence', licence), stated('guideline', guideline)
        )) as content_hash,
        regexp_matches(concat_ws(' ', input, chosen, rejected), $suspicious) as is_suspicious
    from hashed
)

select * from final;
