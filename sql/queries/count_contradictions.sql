-- Groups of signals that contradict each other, as last decided.
select count(distinct kind || group_hash) as groups from contradictions;
