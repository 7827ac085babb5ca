-- Inputs with a better and a worse answer as of a pass over the sources: those of preferences, and those whose answers
-- were rated differently. kind: what the draw of their side takes them for. Parameter: pinned, as for signals_at.
-- Grain: one row an input and kind.
create or replace macro paired_inputs_at(pinned) as table
with preferred as (
    select input_hash, any_value(input) as input, 'given' as kind
    from preferences
    where ingest_seq <= pinned
    group by input_hash
),

rated as (
    select inferences.input_hash, any_value(inferences.input) as input, 'confirmed' as kind
    from ratings
    join inferences using (inference_id)
    where greatest(ratings.ingest_seq, inferences.ingest_seq) <= pinned
    group by inferences.input_hash
    having count(distinct ratings.value) > 1 and count(distinct inferences.output) > 1
),

final as (
    select * from preferred
    union all
    select * from rated
)

select * from final;
