-- Parameter: $judged_seq. Whether Prefect was told that enough was new since that pass.
select new_signals, announced_at from announcements where judged_seq = $judged_seq;
