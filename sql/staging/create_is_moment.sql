-- Whether a text is a moment with a zone by ISO 8601, within the years 1 to 9999 in UTC.
create macro is_moment(value) as
    regexp_full_match(
        value, '\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-](0\d|1[0-4]):[0-5]\d)'
    )
    and value >= '0001'
    and epoch_us(try_cast(value as timestamptz)) between -62135596800000000 and 253402300799999999;
