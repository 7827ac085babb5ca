-- Parameter: $sources (list). Inputs that taught the base: those of demonstrations and preferences of these sources.
select input_hash from demonstrations where source in (select unnest($sources))
union
select input_hash from preferences where source in (select unnest($sources));
