-- Groups of signals that contradict each other, as last decided.
select
    (select count(distinct kind || group_hash) from contradictions)
    + (
        select count(distinct group_hash)
        from opposite_preferences
        where reason is distinct from 'superseded by its author'
    ) as groups;
