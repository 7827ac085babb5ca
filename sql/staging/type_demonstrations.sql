-- Reads parsed. Parameter: $suspicious, an expression that texts with personal data match. The rows that are whole
-- demonstrations, typed. Grain: one row a demonstration.
with typed as materialized (
    select
        row,
        record.demonstration_id as demonstration_id,
        to_json(record.messages[:-2])::varchar as input,
        record.messages[-1].content as output,
        record.producer as producer,
        coalesce(record.slices::varchar, '{}') as slices,
        make_timestamp(epoch_us(try_cast(record.created_at as timestamptz))) as created_at,
        record.licence as licence,
        record.guideline as guideline
    from parsed
    where is_exact
      and record.record = 'demonstration'
      and record.demonstration_id <> ''
      and len(record.messages) > 1
      and record.messages[-1].role = 'assistant'
      and record.messages[-2].role = 'user'
      and len(list_filter(
          record.messages, m -> m.role not in ('system', 'user', 'assistant') or coalesce(m.content, '') = ''
      )) = 0
      and is_producer(record.producer)
      and is_moment(record.created_at)
      and is_answer(record.messages[-1].content)
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
            ' ', 'demonstration', len(demonstration_id), demonstration_id, input_hash, len(output), output,
            len(producer), producer, epoch_us(created_at), slices,
            stated('licence', licence), stated('guideline', guideline)
        )) as content_hash,
        regexp_matches(input, $suspicious) or regexp_matches(output, $suspicious) as is_suspicious
    from hashed
)

select * from final;
