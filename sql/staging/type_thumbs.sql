-- Reads parsed. Parameter: $suspicious, an expression that texts with personal data match. The rows that are whole
-- thumbs, typed. Grain: one row a thumb.
with typed as materialized (
    select
        row,
        record.inference_id as inference_id,
        record.value as value,
        record.producer as producer,
        make_timestamp(epoch_us(try_cast(record.created_at as timestamptz))) as created_at,
        record.licence as licence,
        record.guideline as guideline
    from parsed
    where is_exact
      and record.record = 'thumb'
      and record.inference_id <> ''
      and record.value in ('up', 'down')
      and is_producer(record.producer)
      and is_moment(record.created_at)
      and record.licence is distinct from ''
      and record.guideline is distinct from ''
),

final as (
    select
        *,
        sha256(concat_ws(
            ' ', 'thumb', len(inference_id), inference_id, value, len(producer), producer, epoch_us(created_at),
            stated('licence', licence), stated('guideline', guideline)
        )) as content_hash,
        $suspicious = '' as is_suspicious
    from typed
)

select * from final;
