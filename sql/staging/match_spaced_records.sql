-- Changes parsed. Rows are exact too whose text says what the typed columns say with white space between the tokens.
-- Grain: one row a row that is not exact as it stands.
update parsed
set is_exact = json(raw) = exact
where not is_exact and exact is not null;
