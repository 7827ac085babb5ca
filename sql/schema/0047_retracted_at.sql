-- Corrections, thumbs and ratings that were taken back, as of a pass over the sources, with the reason. Grain: one row a
-- signal, by its content_hash. Parameter: pinned, as for signals_at. What was said and that it is taken back may come in
-- in either order.
create macro retracted_at(pinned) as table
with said as (
    select content_hash, inference_id, corrected_by as producer, created_at from corrections where ingest_seq <= pinned
    union all
    select content_hash, inference_id, producer, created_at from feedback where ingest_seq <= pinned
    union all
    select content_hash, inference_id, producer, created_at from ratings where ingest_seq <= pinned
),

found as (
    select said.content_hash, 'retracted by its author' as reason
    from said
    join retractions using (inference_id, producer)
    where retractions.ingest_seq <= pinned
      and retractions.correction_id is null
      and said.created_at < retractions.created_at
    union all
    select correction_id as content_hash, 'retracted by ' || producer || ': ' || reason as reason
    from retractions
    where ingest_seq <= pinned and correction_id is not null
),

final as (
    select content_hash, min(reason) as reason from found group by content_hash
)

select * from final;
