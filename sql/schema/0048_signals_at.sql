-- Every row with a known right answer as of a pass over the sources, under one shape. Grain: one row a usable signal.
-- Parameter: pinned, the last pass that counts; what arrived later, or whose inference did, is not seen.
-- A correction needs its inference; a confirmed inference (thumbs up only; never corrected, rated low or rejected by a
-- rule) is a demonstration. What its producer took back counts for nothing; a call whose thumbs up are all taken back is
-- left out as retracted. created_at: when the answer was given. licence: the signal's own, else its call's.
create or replace macro signals_at(pinned) as table
with retracted as (
    select * from retracted_at(pinned)
),

corrected as (
    select
        'correction' as signal, corrections.correction_id as signal_id, corrections.inference_id,
        inferences.input, inferences.input_hash, corrections.corrected_output as answer,
        inferences.slices, 'failure' as stratum,
        corrections.corrected_by as producer, corrections.source, corrections.content_hash, corrections.created_at,
        greatest(corrections.ingest_seq, inferences.ingest_seq) as ingest_seq,
        corrections.excluded_because, corrections.failure_cluster as cluster_id,
        coalesce(own.licence, called.licence) as licence, own.guideline
    from corrections
    join inferences using (inference_id)
    left join details as own on own.content_hash = corrections.content_hash
    left join details as called on called.content_hash = inferences.content_hash
    where greatest(corrections.ingest_seq, inferences.ingest_seq) <= pinned
),

thumbs as (
    select
        inference_id,
        min(retracted.reason) as retracted_because,
        bool_and(value = 'up') as is_confirmed,
        arg_min(producer, (created_at, feedback_id)) as producer,
        arg_min(source, (created_at, feedback_id)) as source,
        arg_min(licence, (created_at, feedback_id)) as licence,
        arg_min(guideline, (created_at, feedback_id)) as guideline,
        min(created_at) as created_at,
        min(ingest_seq) as ingest_seq
    from feedback
    left join retracted using (content_hash)
    left join details using (content_hash)
    where ingest_seq <= pinned
    group by inference_id, retracted.reason is null
),

faulted as (
    select inference_id
    from corrections
    where ingest_seq <= pinned and content_hash not in (select content_hash from retracted)
    union
    select inference_id
    from ratings
    where is_failing and ingest_seq <= pinned and content_hash not in (select content_hash from retracted)
    union
    select inference_id from checks where ingest_seq <= pinned
),

overruled as (
    select signal_id, min(reason) as reason
    from contradictions
    where reason is not null
    group by signal_id
),

confirmed as (
    select
        'demonstration' as signal, 'confirmed:' || inferences.inference_id as signal_id, inferences.inference_id,
        inferences.input, inferences.input_hash, inferences.output as answer,
        inferences.slices, 'success' as stratum,
        thumbs.producer, thumbs.source, inferences.content_hash, thumbs.created_at,
        greatest(inferences.ingest_seq, thumbs.ingest_seq) as ingest_seq,
        coalesce(thumbs.retracted_because, overruled.reason) as excluded_because, null as cluster_id,
        coalesce(thumbs.licence, called.licence) as licence, thumbs.guideline
    from inferences
    join thumbs using (inference_id)
    left join details as called on called.content_hash = inferences.content_hash
    left join overruled on overruled.signal_id = 'confirmed:' || inferences.inference_id
    where thumbs.is_confirmed
      and (
          thumbs.retracted_because is null
          or inferences.inference_id not in (select inference_id from thumbs where retracted_because is null)
      )
      and inferences.ingest_seq <= pinned
      and inferences.inference_id not in (select inference_id from faulted)
),

given as (
    select
        'demonstration' as signal, demonstration_id as signal_id, null as inference_id,
        input, input_hash, output as answer,
        slices, null as stratum,
        producer, source, content_hash, created_at, ingest_seq,
        overruled.reason as excluded_because, null as cluster_id,
        details.licence, details.guideline
    from demonstrations
    left join details using (content_hash)
    left join overruled on overruled.signal_id = demonstrations.demonstration_id
    where ingest_seq <= pinned
),

final as (
    select * from corrected
    union all by name
    select * from confirmed
    union all by name
    select * from given
)

select * from final;
