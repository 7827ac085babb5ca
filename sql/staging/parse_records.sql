-- Input: incoming(row, raw), rows that spell their keys alike. Parameters: $shape, the types by key in that order, those
-- that the rows leave out behind the others; $absent, how the typed columns spell these.
-- What each row says by these types, null where it is no JSON; and whether its text, a line, says exactly that,
-- character by character: then no key of it is unknown, missing, doubled or of another type. A table of its own,
-- because a plan over more steps would parse each row anew for every condition. Grain: one row a row.
create or replace temp table parsed as
with transformed as (
    select row, raw, try(json_transform(raw, $shape)) as record from incoming
),

spelled as (
    select *, replace(to_json(record)::varchar, $absent || '}', '}') as exact from transformed
)

select
    row, raw, record,
    -- Behind a JSON object there is nothing but white space, a line's end.
    coalesce(starts_with(raw, exact) and strlen(raw) <= strlen(exact) + 1, false) as is_exact
from spelled;
