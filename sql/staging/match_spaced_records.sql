-- Changes parsed. Parameter: $absent, as for parse_records. Rows are exact too whose text says what the typed columns say
-- with white space between the tokens. Grain: one row a row that is not exact as it stands.
update parsed
set is_exact = json(raw) = replace(to_json(record)::varchar, $absent || '}', '}')
where not is_exact and record is not null;
