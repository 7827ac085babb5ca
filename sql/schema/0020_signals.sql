-- Every row with a known right answer, under one shape. Grain: one row a usable signal.
-- A correction needs its inference; a confirmed inference (thumbs up only, never corrected) is a demonstration.
create view signals as
with corrected as (
    select
        'correction' as signal, corrections.correction_id as signal_id, corrections.inference_id,
        corrections.input, corrections.input_hash, corrections.corrected_output as answer,
        inferences.output as model_output, inferences.slices, 'failure' as stratum,
        corrections.corrected_by as producer, corrections.source, corrections.content_hash,
        corrections.ingest_seq, corrections.excluded_because, corrections.failure_cluster as cluster_id
    from corrections
    join inferences using (inference_id)
    where corrections.input_hash is not null
),

thumbs as (
    select
        inference_id,
        bool_and(value = 'up') as is_confirmed,
        arg_min(producer, (created_at, feedback_id)) as producer,
        arg_min(source, (created_at, feedback_id)) as source,
        max(ingest_seq) as ingest_seq
    from feedback
    group by inference_id
),

confirmed as (
    select
        'demonstration' as signal, 'confirmed:' || inferences.inference_id as signal_id, inferences.inference_id,
        inferences.input, inferences.input_hash, inferences.output as answer,
        inferences.output as model_output, inferences.slices, 'success' as stratum,
        thumbs.producer, thumbs.source, inferences.content_hash,
        greatest(inferences.ingest_seq, thumbs.ingest_seq) as ingest_seq,
        null as excluded_because, null as cluster_id
    from inferences
    join thumbs using (inference_id)
    where thumbs.is_confirmed
      and inferences.inference_id not in (select inference_id from corrections)
),

given as (
    select
        'demonstration' as signal, demonstration_id as signal_id, null as inference_id,
        input, input_hash, output as answer,
        null as model_output, slices, null as stratum,
        producer, source, content_hash, ingest_seq,
        null as excluded_because, null as cluster_id
    from demonstrations
),

final as (
    select * from corrected
    union all by name
    select * from confirmed
    union all by name
    select * from given
)

select * from final;
