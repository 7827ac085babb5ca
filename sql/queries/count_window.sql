-- Parameters: $pinned_seq, $round_id. What came in since the last round that was judged, and how much of it failed.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from judged_rounds where round_id < $round_id
),

passes as (
    select
        coalesce(sum(read_rows), 0)::bigint as read,
        coalesce(sum(stored_rows), 0)::bigint as stored,
        coalesce(sum(known_rows), 0)::bigint as known,
        coalesce(sum(quarantined_rows), 0)::bigint as quarantined
    from collections, bounds
    where ingest_seq > after_seq and ingest_seq <= $pinned_seq
),

calls as (
    select
        count(*) as inferences,
        count(*) filter (where inference_id in (select inference_id from failures_at($pinned_seq))) as failures
    from calls_between((select after_seq from bounds), $pinned_seq)
),

fixes as (
    select count(*) as corrections
    from corrections, bounds
    where ingest_seq > after_seq and ingest_seq <= $pinned_seq
),

final as (
    select * from passes, calls, fixes
)

select * from final;
