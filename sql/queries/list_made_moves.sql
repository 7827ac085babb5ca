-- Moves of the champion alias that were made, oldest first.
select from_version, to_version, moved_by, reason, created_at
from promotions
where event = 'moved'
order by promotion_id;
