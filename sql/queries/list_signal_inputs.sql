-- Parameter: $pinned_seq. Every input with a known right answer, or a better and a worse one, once.
with inputs as (
    select input_hash, input from signals_at($pinned_seq) as signals
    union all
    select input_hash, input from paired_inputs_at($pinned_seq) as paired
),

final as (
    select input_hash, any_value(input) as input
    from inputs
    group by input_hash
)

select * from final order by input_hash;
