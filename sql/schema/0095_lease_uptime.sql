-- Until when the lease holds, in seconds since its owner's machine was started: a clock that nobody sets.
alter table rounds add column uptime_until double;
