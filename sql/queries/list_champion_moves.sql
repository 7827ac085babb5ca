-- Every move of the champion that was made, oldest first.
select promotion_id, from_version, to_version, moved_by, reason, round_id, created_at
from promotions
where event = 'moved'
order by promotion_id;
