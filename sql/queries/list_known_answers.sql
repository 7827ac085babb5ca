-- Input: incoming, by the columns of the suite's queue. What has been answered before to the same input by the same
-- model, decoding and engine, in the columns of answers. A second run of the champion is neither taken nor given: it is
-- there to show what differs between runs.
with known as (
    select answered_by, output, tokens
    from case_results
    where role <> 'champion_again' and tokens is not null
    qualify row_number() over (partition by answered_by order by round_id, role, case_id) = 1
)

select incoming.role, incoming.case_id, incoming.answered_by, known.output, known.tokens, null::integer as shown
from incoming
join known using (answered_by)
where incoming.role <> 'champion_again';
