-- Parameters: $pinned_seq, $round_id. Who judged the traffic since the last round that was judged: calls that each
-- producer said something about, and those of them that failed by that producer's word. What was taken back was not
-- said.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from judged_rounds where round_id < $round_id
),

said as (
    select inference_id, content_hash, corrected_by as producer, excluded_because is null as is_failure
    from corrections
    where ingest_seq <= $pinned_seq
    union all
    select inference_id, content_hash, producer, value = 'down' as is_failure
    from feedback
    where ingest_seq <= $pinned_seq
    union all
    select inference_id, content_hash, producer, is_failing as is_failure
    from ratings
    where ingest_seq <= $pinned_seq
),

final as (
    select
        said.producer,
        count(distinct said.inference_id) as judged,
        count(distinct said.inference_id) filter (where said.is_failure) as failures
    from said
    join calls_between((select after_seq from bounds), $pinned_seq) as calls using (inference_id)
    where said.content_hash not in (select content_hash from retracted_at($pinned_seq))
    group by said.producer
)

select * from final order by producer;
