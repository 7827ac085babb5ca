-- What records may state beside what all of their kind do. Grain: one row a record that states any, by its content_hash.
-- licence: licence or consent; guideline: the version of the guideline that the record was made under. Of preferences:
-- scale (points), degree (how much better on it, 0 is a tie), rubric, and whether it was close.
create table details (
    content_hash text primary key,
    licence text,
    guideline text,
    scale integer check (scale in (5, 8)),
    degree integer check (degree between 0 and 4),
    rubric text,
    is_close boolean
);
