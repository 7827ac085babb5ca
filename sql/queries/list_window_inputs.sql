-- Parameters: $pinned_seq, $round_id, $limit. A sample by hash of the inputs that came in since the last round that was
-- judged, each once.
with bounds as (
    select coalesce(max(pinned_seq), 0) as after_seq from judged_rounds where round_id < $round_id
),

final as (
    select input_hash, any_value(input) as input
    from inferences, bounds
    where ingest_seq > after_seq and ingest_seq <= $pinned_seq
    group by input_hash
)

select input from final order by input_hash limit $limit;
