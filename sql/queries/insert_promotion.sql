-- Parameters: one event of the audit log.
insert into promotions
select
    (select coalesce(max(promotion_id), 0) + 1 from promotions),
    $move_id, $event, $from_version, $to_version, $moved_by, $reason, $round_id, $created_at;
