-- Input: incoming(correction_id, answer, said), the corrected and the model's output in the scorer's canonical form.
-- Parameter: $pinned_seq. Decides anew, for each correction, whether and why it is left out.
-- What was taken back is; an author's later correction supersedes the earlier, also where it is itself taken back by
-- another; what agrees with the model corrects nothing; agreement is used once. What contradicts something else is
-- decided after this.
update corrections
set excluded_because = final.reason
from (
    with pinned as (
        select
            correction_id, corrections.inference_id, inferences.input_hash, said, answer, corrections.created_at,
            retracted.reason as retracted_because,
            row_number() over (
                partition by corrections.inference_id, corrected_by order by corrections.created_at desc, correction_id
            ) as age
        from corrections
        join incoming using (correction_id)
        left join retracted_at($pinned_seq) as retracted using (content_hash)
        left join inferences
            on corrections.inference_id = inferences.inference_id
            and inferences.ingest_seq <= $pinned_seq
        where corrections.ingest_seq <= $pinned_seq
    ),

    latest as (
        select * from pinned where age = 1 and answer <> said and retracted_because is null
    ),

    repeats as (
        select
            correction_id,
            row_number() over (partition by inference_id, answer order by created_at, correction_id) as place
        from latest
    ),

    final as (
        select
            pinned.correction_id,
            case
                when pinned.retracted_because is not null then pinned.retracted_because
                when pinned.input_hash is null then 'its inference has not arrived'
                when pinned.age > 1 then 'superseded by its author'
                when pinned.answer = pinned.said then 'agrees with the model'
                when repeats.place > 1 then 'repeats another correction'
            end as reason
        from pinned
        left join repeats using (correction_id)
    )

    select * from final
) as final
where corrections.correction_id = final.correction_id;
