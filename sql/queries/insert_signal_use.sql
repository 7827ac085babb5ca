-- Parameters: one decision of a person on a signal.
insert into signal_uses
select $signal_id, $use, $set_by, $reason, $set_at;
