-- When the stage was begun, by the same clock; null where another machine than the lease's owner began it.
alter table rounds add column stage_uptime double;
