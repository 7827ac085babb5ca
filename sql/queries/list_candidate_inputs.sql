-- Parameters: $pinned_seq, $ranked_by (scorer or checks), $seed, $max_inputs. Inputs on the training side to sample
-- answers to: those of usable signals with a right answer, and where checks rank, of preferences and ratings too, but not
-- those that offer tools, since checks judge texts. Of each group of near-duplicates one; corrected ones first, the others
-- by hash. signal_id is that of what brought the input in; answer is the right one; faulted, where checks rank, are answers
-- to it that were found to be failures. Grain: one row a group.
with retracted as (
    select content_hash from retracted_at($pinned_seq)
),

usable as (
    select
        signal_id, inference_id, input, input_hash, answer, slices, source, cluster_id, ingest_seq,
        signal = 'correction' as is_corrected
    from signals_at($pinned_seq)
    where excluded_because is null and signal_id not in (select signal_id from withheld)
),

preferred as (
    select
        preference_id as signal_id, null as inference_id, input, input_hash, null as answer, slices, source,
        null as cluster_id, ingest_seq, false as is_corrected
    from preferences
    where ingest_seq <= $pinned_seq
),

rated as (
    select
        ratings.rating_id as signal_id, inferences.inference_id, inferences.input, inferences.input_hash,
        null as answer, inferences.slices, ratings.source, null as cluster_id,
        greatest(ratings.ingest_seq, inferences.ingest_seq) as ingest_seq, false as is_corrected
    from ratings
    join inferences using (inference_id)
    where greatest(ratings.ingest_seq, inferences.ingest_seq) <= $pinned_seq
      and ratings.content_hash not in (select content_hash from retracted)
),

every as (
    select * from usable
    union all by name
    select * from preferred where $ranked_by = 'checks'
    union all by name
    select * from rated where $ranked_by = 'checks'
),

one_a_group as (
    select every.*, sides.group_hash
    from every
    join sides using (input_hash)
    where sides.side = 'train'
      and ($ranked_by = 'scorer' or starts_with(every.input, '['))
    qualify row_number() over (
        partition by sides.group_hash order by is_corrected desc, ingest_seq desc, signal_id
    ) = 1
),

failed as (
    select input_hash, list(distinct output) as faulted
    from failures_at($pinned_seq)
    where $ranked_by = 'checks'
    group by input_hash
),

final as (
    select one_a_group.* exclude (ingest_seq, is_corrected), coalesce(failed.faulted, []) as faulted
    from one_a_group
    left join failed using (input_hash)
    order by is_corrected desc, sha256($seed || '/' || input_hash)
    limit $max_inputs
)

select * from final;
