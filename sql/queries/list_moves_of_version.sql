-- Parameter: $version. Moves of the champion alias to or from the version.
select event, from_version, to_version, moved_by, reason, created_at
from promotions
where from_version = $version or to_version = $version
order by promotion_id;
