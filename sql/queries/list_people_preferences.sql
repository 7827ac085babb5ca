-- Parameters: $pinned_seq, $seed, $cases. What people prefer, ties too, but for preferences that do not stand against
-- opposite ones, and for answers that people disagree on. Grain: one row an input and two answers; chosen is null for a
-- tie. The answers come in an order of their own. Of more than `cases`, those drawn by the seed.
with said as (
    select
        input, input_hash, least(chosen, rejected) as one, greatest(chosen, rejected) as other,
        case when degree = 0 then 'tie' when chosen < rejected then 'one' else 'other' end as better
    from preferences
    left join details using (content_hash)
    where ingest_seq <= $pinned_seq
      and producer like 'person:%'
      and trim(chosen) <> trim(rejected)
      and content_hash not in (select content_hash from opposite_preferences where reason is not null)
),

drawn as (
    select
        any_value(input) as input, one, other, any_value(better) as better,
        sha256($seed || '/' || input_hash || '/' || one || '/' || other) as draw
    from said
    group by input_hash, one, other
    having count(distinct better) = 1
),

-- Whatever comes first in the alphabet would come first to a person of habit too: a coin decides.
final as (
    select
        draw, input,
        case when draw < '8' then one else other end as first,
        case when draw < '8' then other else one end as second,
        case
            when better = 'tie' then 'tie'
            when (better = 'one') = (draw < '8') then 'first'
            else 'second'
        end as better
    from drawn
)

select input, first, second, better
from final
order by sha256(draw)
limit $cases;
