-- Parameter: $round_id. The version that anchor is also held against: the one that was pinned last, or the champion of
-- the first round that was judged; no row before that. A null version is the bare base model.
with pinned as (
    select version, 'pinned' as kind, pinned_by, reason, pinned_at from reference_pins order by pinned_at desc limit 1
),

first_champion as (
    select champion_version as version, 'first champion' as kind, null as pinned_by, null as reason, null as pinned_at
    from judged_rounds
    where round_id < $round_id
    order by round_id
    limit 1
)

select * from pinned
union all by name
select * from first_champion where not exists (select * from pinned);
