-- Parameters: $move_id, $event.
select * from promotions where move_id = $move_id and event = $event;
