-- The champion's last move with what the one before it began: promoted_seq and since_seq, the last passes over the sources
-- that were over when the champion and the one before it began to serve; since_at, when the latter did (null: always).
with moved as (
    select *, lag(created_at) over (order by promotion_id) as since_at
    from promotions
    where event = 'moved'
),

final as (
    select
        moved.promotion_id, moved.move_id, moved.from_version, moved.to_version, moved.moved_by, moved.round_id, moved.created_at as moved_at,
        moved.since_at,
        (select coalesce(max(ingest_seq), 0) from collections where finished_at <= moved.created_at) as promoted_seq,
        (select coalesce(max(ingest_seq), 0) from collections where finished_at <= moved.since_at) as since_seq
    from moved
)

select * exclude (promotion_id) from final order by promotion_id desc limit 1;
