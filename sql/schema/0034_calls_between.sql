-- The traffic that a round is about: calls that came in after one pass and up to another, and earlier ones that were
-- first judged then. Grain: one row an inference. Parameters: after_seq (excluded), pinned (included).
create or replace macro calls_between(after_seq, pinned) as table
with judged as (
    select inference_id, ingest_seq from corrections where ingest_seq <= pinned
    union all
    select inference_id, ingest_seq from feedback where ingest_seq <= pinned
    union all
    select inference_id, ingest_seq from ratings where ingest_seq <= pinned
),

first_judged as (
    select inference_id, min(ingest_seq) as ingest_seq from judged group by inference_id
),

final as (
    select inferences.inference_id
    from inferences
    left join first_judged using (inference_id)
    where inferences.ingest_seq <= pinned
      and (inferences.ingest_seq > after_seq or first_judged.ingest_seq > after_seq)
)

select * from final;
