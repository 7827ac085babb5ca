-- Whether a text names a producer: person:NAME, model:ID or rule:NAME.
create macro is_producer(value) as regexp_matches(value, '^(person|model|rule):.+');
