-- Changes parsed. Rows are exact too that leave out their slices, where the typed columns say null.
-- Grain: one row a row that is not exact otherwise.
update parsed
set is_exact = json(raw) = replace(to_json(record)::varchar, ',"slices":null', '')
where not is_exact and record is not null;
