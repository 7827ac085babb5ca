-- Pairs of a better (answer) and a worse (rejected) answer to an input, as of a pass over the sources: preferences but
-- ties, corrections with what the model had said, and the best rated answer to an input with a worse rated one. signal,
-- signal_id: what the pair rests on. how, model_version: how a derived pair was made, and who gave its rejected answer;
-- null for a preference. excluded_because: why the signal as such is left out. Parameter: pinned, as for signals_at.
-- Grain: one row a pair.
create macro pairs_at(pinned) as table
with retracted as (
    select content_hash from retracted_at(pinned)
),

faulted as (
    select inference_id
    from corrections
    where ingest_seq <= pinned and content_hash not in (select content_hash from retracted)
    union
    select inference_id
    from feedback
    where value = 'down' and ingest_seq <= pinned and content_hash not in (select content_hash from retracted)
    union
    select inference_id from checks where ingest_seq <= pinned
),

stars as (
    select
        ratings.rating_id, inferences.inference_id, inferences.input, inferences.input_hash, inferences.output,
        inferences.slices, inferences.model_version, ratings.value, ratings.is_failing, ratings.producer, ratings.source,
        ratings.created_at, greatest(ratings.ingest_seq, inferences.ingest_seq) as ingest_seq,
        inferences.inference_id in (select inference_id from faulted) as is_faulted
    from ratings
    join inferences using (inference_id)
    where greatest(ratings.ingest_seq, inferences.ingest_seq) <= pinned
      and ratings.content_hash not in (select content_hash from retracted)
    qualify row_number() over (
        partition by inferences.inference_id order by ratings.value, ratings.created_at desc, ratings.rating_id
    ) = 1
),

best as (
    select *
    from stars
    where not is_failing and not is_faulted
    qualify row_number() over (partition by input_hash order by value desc, ingest_seq desc, inference_id) = 1
),

preferred as (
    select
        'preference' as signal, preference_id as signal_id, null as inference_id, input, input_hash, chosen as answer,
        rejected, slices, null as stratum, producer, source, content_hash, null as cluster_id, created_at, ingest_seq,
        null as excluded_because, null as how, null as model_version
    from preferences
    left join details using (content_hash)
    where ingest_seq <= pinned and degree is distinct from 0
),

corrected as (
    select
        'correction' as signal, signals.signal_id, signals.inference_id, signals.input, signals.input_hash,
        signals.answer, inferences.output as rejected, signals.slices, signals.stratum, signals.producer,
        signals.source, signals.content_hash, signals.cluster_id, signals.created_at, signals.ingest_seq,
        signals.excluded_because, 'a failure and its correction' as how, inferences.model_version
    from signals_at(pinned) as signals
    join inferences using (inference_id)
    where signal = 'correction'
),

rated as (
    select
        'rating' as signal, best.rating_id as signal_id, best.inference_id, best.input, best.input_hash,
        best.output as answer, worse.output as rejected, best.slices, 'success' as stratum, best.producer, best.source,
        sha256(best.input_hash || '/' || best.output || '/' || worse.output) as content_hash, null as cluster_id,
        greatest(best.created_at, worse.created_at) as created_at,
        greatest(best.ingest_seq, worse.ingest_seq) as ingest_seq, null as excluded_because,
        'an answer rated ' || best.value || ' and one rated ' || worse.value as how, worse.model_version
    from best
    join stars as worse on worse.input_hash = best.input_hash and worse.value < best.value
),

final as (
    select * from preferred
    union all by name
    select * from corrected
    union all by name
    select * from rated
)

select * from final;
