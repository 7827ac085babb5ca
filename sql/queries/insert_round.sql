-- Parameters: $round_key, $config_sha256, $requested_by, $opened_at. Pins what has been collected so far, and the
-- champion of this moment.
insert into rounds (
    round_id, round_key, stage, pinned_seq, config_sha256, requested_by, champion_version, opened_at, stage_started_at
)
select
    (select coalesce(max(round_id), 0) + 1 from rounds),
    $round_key,
    'screen',
    (select max(ingest_seq) from collections),
    $config_sha256,
    $requested_by,
    (select to_version from promotions where event = 'moved' order by promotion_id desc limit 1),
    $opened_at,
    $opened_at;
