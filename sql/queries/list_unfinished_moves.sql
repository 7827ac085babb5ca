-- Moves of the champion alias that were intended and not made. One after which another was made is no more to be finished.
select move_id, from_version, to_version, moved_by, reason, created_at
from promotions
where event = 'intended'
  and move_id not in (select move_id from promotions where event = 'moved')
  and promotion_id > (select coalesce(max(promotion_id), 0) from promotions where event = 'moved')
order by promotion_id;
