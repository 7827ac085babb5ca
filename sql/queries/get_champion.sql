-- The last move of the champion alias that was made: to which version (null: the base model), by whom, when and why.
select to_version, moved_by, reason, created_at
from promotions
where event = 'moved'
order by promotion_id desc
limit 1;
