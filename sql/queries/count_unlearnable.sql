-- Parameter: $since, a pass over the sources. Signals that the champion was trained on and that were taken back after it:
-- corrections, calls of which nobody's thumb up is left, and ratings that a pair was made of.
with champion as (
    select to_version as version from promotions where event = 'moved' order by promotion_id desc limit 1
),

trained as (
    select snapshot_rows.*
    from snapshot_rows
    join versions using (snapshot_hash)
    join champion using (version)
),

retracted as (
    select content_hash from retracted_at(2147483647)
    except
    select content_hash from retracted_at($since)
),

standing_thumbs as (
    select inference_id
    from feedback
    where value = 'up' and content_hash not in (select content_hash from retracted_at(2147483647))
),

unconfirmed as (
    select 'confirmed:' || inference_id as signal_id
    from feedback
    where value = 'up'
      and content_hash in (select content_hash from retracted)
      and inference_id not in (select inference_id from standing_thumbs)
),

rated as (
    select inferences.input_hash, inferences.output
    from ratings
    join inferences using (inference_id)
    where ratings.content_hash in (select content_hash from retracted)
),

worse_rated as (
    select trained.signal_id
    from trained
    join inferences as better using (inference_id)
    join rated on rated.input_hash = trained.input_hash
    where trained.content_hash = sha256(better.input_hash || '/' || better.output || '/' || rated.output)
),

final as (
    select distinct signal_id
    from trained
    where content_hash in (select content_hash from retracted)
       or signal_id in (select rating_id from ratings where content_hash in (select content_hash from retracted))
       or signal_id in (select signal_id from unconfirmed)
       or signal_id in (select signal_id from worse_rated)
)

select count(*) as signals from final;
