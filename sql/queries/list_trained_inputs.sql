-- Parameters: $version, $limit. A sample by hash of the inputs that a version was trained on, each once.
with trained as (
    select distinct snapshot_rows.input_hash
    from versions
    join snapshot_rows using (snapshot_hash)
    where versions.version = $version
),

inputs as (
    select input_hash, input from inferences
    union all
    select input_hash, input from demonstrations
    union all
    select input_hash, input from preferences
),

final as (
    select input_hash, any_value(input) as input
    from trained
    join inputs using (input_hash)
    group by input_hash
)

select input from final order by input_hash limit $limit;
