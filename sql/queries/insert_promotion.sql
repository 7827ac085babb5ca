-- Parameters: one event of the audit log.
insert into promotions by name
select
    (select coalesce(max(promotion_id), 0) + 1 from promotions) as promotion_id,
    $move_id as move_id, $event as event, $from_version as from_version, $to_version as to_version, $moved_by as moved_by,
    $reason as reason, $round_id as round_id, $created_at as created_at, $evidence_sha256 as evidence_sha256;
