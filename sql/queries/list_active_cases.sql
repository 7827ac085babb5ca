-- Parameters: $round_id, $protected (JSON: slice and value of each). The suite as of the round, whatever became of its
-- cases later. group_hash: its group of near-duplicates; is_new: it came in since the last round before this one that was
-- judged; is_protected: it is in a protected slice, whenever it came in. Grain: one row a case.
with protected as (
    select rule.slice, rule.value
    from (select unnest(from_json($protected, '[{"slice": "VARCHAR", "value": "VARCHAR"}]')) as rule)
),

active as (
    select * exclude (retired_round, retired_because)
    from regression_cases
    where added_round <= $round_id and (retired_round is null or retired_round > $round_id)
),

guarded as (
    select distinct active.case_id
    from active
    join protected
      on json_extract_string(active.slices, '/' || replace(replace(protected.slice, '~', '~0'), '/', '~1'))
          = protected.value
),

final as (
    select
        active.*,
        coalesce(sides.group_hash, active.input_hash) as group_hash,
        active.added_round > (
            select coalesce(max(round_id), 0) from judged_rounds where round_id < $round_id
        ) as is_new,
        guarded.case_id is not null as is_protected
    from active
    left join sides using (input_hash)
    left join guarded using (case_id)
)

select * from final order by case_id;
