-- Parameter: $pinned_seq. Pairs of which one says the reverse of another, group by group, with what was decided on them;
-- not what their own author took over.
select
    opposite_preferences.group_hash, 'opposite preferences' as kind, opposite_preferences.policy,
    opposite_preferences.signal, opposite_preferences.signal_id, pairs.input, pairs.answer, pairs.rejected,
    pairs.producer, pairs.created_at, opposite_preferences.reason is null as stands, opposite_preferences.reason
from opposite_preferences
join pairs_at($pinned_seq) as pairs using (content_hash)
where opposite_preferences.reason is distinct from 'superseded by its author'
qualify row_number() over (partition by content_hash order by pairs.created_at, pairs.signal_id) = 1
order by opposite_preferences.group_hash, pairs.created_at, pairs.signal_id;
