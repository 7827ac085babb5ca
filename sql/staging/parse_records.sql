-- Input: incoming(row, raw), rows that spell their keys alike. Parameters: $shape, the types by key in that order; $absent,
-- those of the keys that the rows leave out, which are null.
-- What each row says by these types, null where it is no JSON; and whether its text, a line, says exactly that,
-- character by character: then no key of it is unknown, missing, doubled or of another type; else exact, that spelling.
-- A table of its own, because a plan over more steps would parse each row anew for every condition.
-- Grain: one row a row.
create or replace temp table parsed as
with transformed as (
    select row, raw, try(json_transform(raw, $shape)) as said from incoming
),

spelled as (
    select *, to_json(said)::varchar as exact from transformed
),

compared as (
    -- Behind a JSON object there is nothing but white space, a line's end.
    select *, coalesce(starts_with(raw, exact) and strlen(raw) <= strlen(exact) + 1, false) as is_exact from spelled
)

select
    row, raw, is_exact,
    if(is_exact, null, exact) as exact,
    struct_concat(said, json_transform('{}', $absent)) as record
from compared;
