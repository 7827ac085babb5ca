-- Input: incoming(row, raw), rows that spell their keys alike. Parameter: $shape, the types by key in that order.
-- The rows whose JSON text says exactly what the typed columns say, character by character: no key of them is unknown,
-- missing, doubled or of another type. A table of its own, because a plan over both steps would parse each row anew
-- for every condition. Grain: one row a row.
create or replace temp table parsed as
with transformed as materialized (
    select
        row, raw,
        case when json_valid(raw) then json_transform(raw, $shape) end as record
    from incoming
)

select row, record
from transformed
where case
    when record is not null then json(raw) in (to_json(record), replace(to_json(record), ',"slices":null', ''))
end;
