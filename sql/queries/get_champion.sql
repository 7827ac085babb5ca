-- The last move of the champion alias that was made.
select to_version from promotions where event = 'moved' order by promotion_id desc limit 1;
