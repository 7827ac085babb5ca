-- Parameters: $suite_hash, $round_id, $fixed, $unseen, $anchor, $protected (numbers of cases), $created_at. A version that is
-- known stays as it is.
insert or ignore into suite_versions by name
select
    $suite_hash as suite_hash, $round_id as first_round, $fixed as fixed, $unseen as unseen, $anchor as anchor,
    $protected as protected, $created_at as created_at;
