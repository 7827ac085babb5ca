-- Input: incoming(row, raw), rows that spell their keys alike. Parameter: $shape, the types by key in that order.
-- What each row says by these types, null where it is no JSON; and whether its text, a line, says exactly that,
-- character by character: then no key of it is unknown, missing, doubled or of another type. A table of its own,
-- because a plan over more steps would parse each row anew for every condition. Grain: one row a row.
create or replace temp table parsed as
with transformed as (
    select
        row, raw,
        case when json_valid(raw) then json_transform(raw, $shape) end as record
    from incoming
)

select
    row, raw, record,
    coalesce(raw in (to_json(record)::varchar, to_json(record)::varchar || chr(10)), false) as is_exact
from transformed;
