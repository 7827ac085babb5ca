-- Parameters: $pinned_seq, $copies. Pairs of a better and a worse answer on the training side, but for those that another
-- pair says the reverse of and that do not stand. how, model_version: as in pairs_at. Of a group of near-duplicates, the
-- `copies` that came in last. Grain: one row a pair of texts for an input; signal_id is that of what the pair rests on.
with one_a_pair as (
    select pairs.* exclude (signal, created_at, excluded_because), sides.group_hash
    from pairs_at($pinned_seq) as pairs
    join sides using (input_hash)
    where sides.side = 'train'
      and trim(answer) <> trim(rejected)
      and excluded_because is null
      and (signal <> 'correction' or signal_id not in (select signal_id from withheld))
      and content_hash not in (select content_hash from opposite_preferences where reason is not null)
    qualify row_number() over (
        partition by input_hash, answer, rejected order by how is not null, signal_id
    ) = 1
),

final as (
    select * exclude (ingest_seq)
    from one_a_pair
    qualify row_number() over (partition by group_hash order by ingest_seq desc, signal_id, rejected) <= $copies
)

select * from final order by signal_id, rejected;
