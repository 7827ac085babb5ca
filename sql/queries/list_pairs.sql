-- Parameters: $pinned_seq, $copies. Pairs of a better and a worse answer on the training side: preferences but ties,
-- corrections with what the model had said, and the best rated answer to an input with a worse rated one. how,
-- model_version: how a derived pair was made, and who gave its rejected answer; null for a preference. Of a group of
-- near-duplicates, the `copies` that came in last. Grain: one row a pair of texts for an input; signal_id is that of
-- what the pair rests on.
with retracted as (
    select content_hash from retracted_at($pinned_seq)
),

usable_corrections as (
    select *
    from signals_at($pinned_seq) as signals
    where signal = 'correction' and excluded_because is null and signal_id not in (select signal_id from withheld)
),

faulted as (
    select inference_id
    from corrections
    where ingest_seq <= $pinned_seq and content_hash not in (select content_hash from retracted)
    union
    select inference_id
    from feedback
    where value = 'down' and ingest_seq <= $pinned_seq and content_hash not in (select content_hash from retracted)
    union
    select inference_id from checks where ingest_seq <= $pinned_seq
),

stars as (
    select
        ratings.rating_id, inferences.inference_id, inferences.input, inferences.input_hash, inferences.output,
        inferences.slices, inferences.model_version, ratings.value, ratings.is_failing, ratings.producer, ratings.source,
        greatest(ratings.ingest_seq, inferences.ingest_seq) as ingest_seq,
        inferences.inference_id in (select inference_id from faulted) as is_faulted
    from ratings
    join inferences using (inference_id)
    where greatest(ratings.ingest_seq, inferences.ingest_seq) <= $pinned_seq
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
        preference_id as signal_id, null as inference_id, input, input_hash, chosen as answer, rejected, slices,
        null as stratum, producer, source, content_hash, null as cluster_id, ingest_seq,
        null as how, null as model_version
    from preferences
    left join details using (content_hash)
    where ingest_seq <= $pinned_seq and degree is distinct from 0
),

corrected as (
    select
        signals.signal_id, signals.inference_id, signals.input, signals.input_hash,
        signals.answer, inferences.output as rejected, signals.slices, signals.stratum, signals.producer,
        signals.source, signals.content_hash, signals.cluster_id, signals.ingest_seq,
        'a failure and its correction' as how, inferences.model_version
    from usable_corrections as signals
    join inferences using (inference_id)
),

rated as (
    select
        best.rating_id as signal_id, best.inference_id, best.input, best.input_hash, best.output as answer,
        worse.output as rejected, best.slices, 'success' as stratum, best.producer, best.source,
        sha256(best.input_hash || '/' || best.output || '/' || worse.output) as content_hash, null as cluster_id,
        greatest(best.ingest_seq, worse.ingest_seq) as ingest_seq,
        'an answer rated ' || best.value || ' and one rated ' || worse.value as how, worse.model_version
    from best
    join stars as worse on worse.input_hash = best.input_hash and worse.value < best.value
),

every as (
    select * from preferred
    union all by name
    select * from corrected
    union all by name
    select * from rated
),

one_a_pair as (
    select every.*, sides.group_hash
    from every
    join sides using (input_hash)
    where sides.side = 'train'
      and trim(every.answer) <> trim(every.rejected)
    qualify row_number() over (
        partition by every.input_hash, every.answer, every.rejected order by how is not null, signal_id
    ) = 1
),

final as (
    select * exclude (ingest_seq)
    from one_a_pair
    qualify row_number() over (partition by group_hash order by ingest_seq desc, signal_id, rejected) <= $copies
)

select * from final order by signal_id, rejected;
