-- Parameters: $kind, $text, $round_id, $version, $created_at.
insert into notices
select coalesce(max(notice_id), 0) + 1, $kind, $text, $round_id, $version, $created_at from notices;
