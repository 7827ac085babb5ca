-- Reads parsed. Parameter: $suspicious, an expression that texts with personal data match. The rows that are whole
-- retractions, typed. Grain: one row a retraction.
with typed as materialized (
    select
        row,
        record.inference_id as inference_id,
        record.producer as producer,
        coalesce(record.reason, '') as reason,
        make_timestamp(epoch_us(try_cast(record.created_at as timestamptz))) as created_at
    from parsed
    where is_exact
      and record.record = 'retraction'
      and record.inference_id <> ''
      and is_producer(record.producer)
      and is_moment(record.created_at)
      and record.reason is distinct from ''
),

final as (
    select
        *,
        sha256(concat_ws(
            ' ', 'retraction', len(inference_id), inference_id, len(producer), producer, epoch_us(created_at),
            len(reason), reason
        )) as content_hash,
        regexp_matches(reason, $suspicious) as is_suspicious
    from typed
)

select * from final;
