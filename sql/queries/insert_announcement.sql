-- Parameters: $judged_seq, $new_signals, $announced_at. Said by two at the same time, the first is kept.
insert into announcements values ($judged_seq, $new_signals, $announced_at) on conflict do nothing;
