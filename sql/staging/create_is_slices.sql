-- Whether a JSON value is a mapping of text to text, its keys in order and each there once; absent is as good as empty.
create macro is_slices(value) as
    value is null
    or (
        regexp_full_match(value::varchar, '\{("([^"\\]|\\.)*":"([^"\\]|\\.)*",?)*\}')
        and json_keys(value) = list_sort(list_distinct(json_keys(value)))
    );
