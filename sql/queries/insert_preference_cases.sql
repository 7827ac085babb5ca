-- Parameters: $round_id, $pinned_seq, $copies, $verified_by (patterns of producers), $known (inputs that the base knows by
-- heart, by hash), $leaked (reasons that cases were retired for). New cases of a workload whose answers are only better or
-- worse: held-out inputs of preferences that stand, that a trusted producer gave and that the base does not know by heart,
-- one an input, and no more than `copies` of a group of near-duplicates. What is expected is what was preferred; nothing is
-- compared with it by its words.
insert into regression_cases by name
with preferred as (
    select
        preferences.preference_id, preferences.input, preferences.input_hash, preferences.chosen, preferences.slices,
        preferences.producer, preferences.source, preferences.ingest_seq, sides.group_hash
    from preferences
    join sides using (input_hash)
    left join details using (content_hash)
    where preferences.ingest_seq <= $pinned_seq
      and sides.side = 'anchor'
      and details.degree is distinct from 0
      and preferences.input_hash not in (select unnest($known))
      and preferences.content_hash not in (select content_hash from opposite_preferences where reason is not null)
      and exists (
          select 1 from (select unnest($verified_by) as pattern) as trusted where preferences.producer glob pattern
      )
      and input_hash not in (
          select input_hash from regression_cases where retired_round is null or list_contains($leaked, retired_because)
      )
    qualify row_number() over (partition by input_hash order by preference_id) = 1
),

taken as (
    select sides.group_hash, count(*) as cases
    from regression_cases
    join sides using (input_hash)
    where retired_round is null
    group by sides.group_hash
),

final as (
    select
        preference_id || case when preference_id in (select signal_id from regression_cases) then '@' || $round_id else '' end
            as case_id,
        input, input_hash, chosen as expected, 'anchor' as tier, slices, preference_id as signal_id,
        producer, source, $round_id as added_round
    from preferred
    left join taken using (group_hash)
    qualify row_number() over (partition by group_hash order by ingest_seq desc, preference_id)
        + coalesce(taken.cases, 0) <= $copies
)

select * from final;
