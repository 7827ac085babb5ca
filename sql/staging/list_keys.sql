-- Input: incoming(row, raw). How each row spells its record: its keys in order; null where it is no JSON object.
-- Grain: one row a row.
select
    row, raw,
    case when json_valid(raw) then array_to_string(json_keys(raw), ' ') end as keys
from incoming;
