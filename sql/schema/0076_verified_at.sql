-- Signals whose answer a trusted producer stands behind, as of a pass over the sources. Grain: one row a signal.
-- Parameters: pinned, as for signals_at; patterns, a list of producers (person:* is any person).
-- A correction is verified by who gave it, or gave the same of that call; a confirmed call by any thumb up that was not
-- taken back; a given demonstration by who gave it. verified_by is the first of them.
create macro verified_at(pinned, patterns) as table
with said as (
    select corrections.correction_id as signal_id, same.corrected_by as producer, same.created_at
    from corrections
    join corrections as same
      on same.inference_id = corrections.inference_id and same.corrected_output = corrections.corrected_output
    where same.ingest_seq <= pinned
      and (same.excluded_because is null or same.excluded_because = 'repeats another correction')
    union all
    select 'confirmed:' || inference_id as signal_id, producer, created_at
    from feedback
    where value = 'up'
      and ingest_seq <= pinned
      and content_hash not in (select content_hash from retracted_at(pinned))
    union all
    select demonstration_id as signal_id, producer, created_at from demonstrations where ingest_seq <= pinned
),

producers as (
    select distinct producer from said
),

trusted as (
    select distinct producer
    from producers
    join (select unnest(patterns) as pattern) as listed on producer glob pattern
),

final as (
    select signal_id, arg_min(producer, (created_at, producer)) as verified_by
    from said
    join trusted using (producer)
    group by signal_id
)

select * from final;
