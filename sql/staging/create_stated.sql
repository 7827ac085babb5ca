-- How a key that a record may leave out enters its hash: null, and so not at all, where it is left out.
create macro stated(key, value) as key || ' ' || len(value::varchar) || ' ' || value::varchar;
