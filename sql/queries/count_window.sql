-- Parameters: $pinned_seq, $round_id. What came in since the round before, and how much of it failed.
-- A failure is an inference with a thumb down, or with a correction that is not excluded.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from rounds where round_id < $round_id and verdict is not null
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
        count(*) filter (where inference_id in (select inference_id from failures)) as failures
    from inferences, bounds
    where ingest_seq > after_seq and ingest_seq <= $pinned_seq
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
