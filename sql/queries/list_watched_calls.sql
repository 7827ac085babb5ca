-- Parameters: $names, $after_seq, $until_seq (calls under these names that came in after one pass and up to another),
-- $stable, $since, $until (calls under these names that were made in this time), $days and $is_before (so long up to the
-- last of them counts, or else from the first on), $settle_hours (what people said of a call by that age counts).
-- An input counts once a day, by its first call, once it is old enough and has come in; place: its place in that order.
-- Grain: one row a call that counts and that somebody judged or that fails, beside how many there are: calls that count,
-- waiting ones that are too young, and when the next of these is old enough. One row without a place where there is none.
-- is_failing: a thumb down, few stars or a rule; corrections: what each author gave last; judged_by: who said anything.
with latest as (
    select max(finished_at) as as_of from collections
),

answered as (
    select inferences.inference_id, input_hash, output, created_at, finished_at
    from inferences
    join collections using (ingest_seq)
    where (list_contains($names::text[], model_version) and ingest_seq > $after_seq and ingest_seq <= $until_seq)
       or (list_contains($stable::text[], model_version) and created_at >= $since and created_at < $until)
),

bounds as (
    select
        to_microseconds(($days * 86400e6)::bigint) as span, min(created_at) as first_at, max(created_at) as last_at
    from answered
),

calls as (
    select answered.*, created_at + to_microseconds(($settle_hours * 3600e6)::bigint) as settles_at
    from answered, bounds
    where if($is_before, created_at >= last_at - span, created_at <= first_at + span)
    qualify row_number() over (partition by input_hash, created_at::date order by created_at, inference_id) = 1
),

said as (
    select inference_id, corrected_by as producer, created_at, corrected_output as answer, correction_id, false as is_fault
    from corrections
    union all by name
    select inference_id, producer, created_at, value = 'down' as is_fault
    from feedback
    union all by name
    select inference_id, producer, created_at, is_failing as is_fault
    from ratings
),

in_time as (
    select said.*
    from said
    join calls using (inference_id)
    anti join retractions as taken
      on taken.inference_id = said.inference_id
      and (
          taken.correction_id = said.correction_id
          or (taken.correction_id is null and taken.producer = said.producer and said.created_at < taken.created_at)
      )
      and taken.created_at <= calls.settles_at
    where said.created_at <= calls.settles_at
),

corrected as (
    select inference_id, producer, answer
    from in_time
    where answer is not null
    qualify row_number() over (partition by inference_id, producer order by created_at desc, correction_id) = 1
),

totals as (
    select
        count(*) filter (where settles_at <= as_of) as calls,
        count(*) filter (where settles_at > as_of) as waiting,
        min(settles_at) filter (where settles_at > as_of) as next_at
    from calls, latest
),

counted as (
    select
        inference_id, output,
        row_number() over (order by greatest(settles_at, finished_at), created_at, inference_id) as place
    from calls, latest
    where settles_at <= as_of
),

found as (
    select
        counted.place, counted.output,
        coalesce(judged.is_failing, false) or checked.inference_id is not null as is_failing,
        coalesce(judged.judged_by, []) as judged_by,
        coalesce(given.corrections, []) as corrections,
        coalesce(members.cluster_id, provisional.cluster_id) as cluster_id
    from counted
    left join (
        select
            inference_id, bool_or(is_fault) as is_failing,
            list(distinct producer order by producer) as judged_by
        from in_time
        group by inference_id
    ) as judged using (inference_id)
    left join (select distinct inference_id from checks) as checked using (inference_id)
    left join (
        select inference_id, list(answer order by producer) as corrections from corrected group by inference_id
    ) as given using (inference_id)
    left join cluster_members as members using (inference_id)
    left join provisional_members as provisional
      on provisional.inference_id = counted.inference_id and members.inference_id is null
    where judged.inference_id is not null or checked.inference_id is not null
),

final as (
    select totals.*, found.* from totals left join found on true
)

select * from final order by place;
