-- Parameters: $round_id, $stage, $seconds, $tokens_trained, $tokens_generated, $bytes_kept, $spent_at. Adds to what the
-- stage has cost so far.
insert into costs (round_id, stage, seconds, tokens_trained, tokens_generated, bytes_kept, spent_at)
values ($round_id, $stage, $seconds, $tokens_trained, $tokens_generated, $bytes_kept, $spent_at)
on conflict (round_id, stage) do update set
    seconds = seconds + excluded.seconds,
    gpu_seconds = gpu_seconds + excluded.seconds * gpus,
    tokens_trained = tokens_trained + excluded.tokens_trained,
    tokens_generated = tokens_generated + excluded.tokens_generated,
    bytes_kept = bytes_kept + excluded.bytes_kept,
    spent_at = excluded.spent_at;
