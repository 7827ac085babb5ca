-- What was read, what became of it, and what the tables hold. reconciles: both accounts agree.
with passes as (
    select
        coalesce(sum(read_rows), 0)::bigint as read,
        coalesce(sum(stored_rows), 0)::bigint as stored,
        coalesce(sum(known_rows), 0)::bigint as known,
        coalesce(sum(quarantined_rows), 0)::bigint as quarantined
    from collections
),

held as (
    select
        (select count(*) from inferences) as inferences,
        (select count(*) from corrections) as corrections,
        (select count(*) from feedback) as feedback,
        (select count(*) from demonstrations) as demonstrations,
        (select count(*) from ratings) as ratings,
        (select count(*) from preferences) as preferences,
        (select count(*) from retractions) as retractions,
        (select count(*) from quarantined_rows) as in_quarantine,
        (select count(*) from quarantined_rows where resolved_seq is null) as waiting,
        (select count(*) from failures) as failures,
        (select count(*) from regression_cases where retired_round is null) as regression_cases
),

final as (
    select
        *,
        read = stored + known + quarantined
            and stored = inferences + corrections + feedback + ratings + demonstrations + preferences + retractions
            and quarantined = in_quarantine as reconciles
    from passes, held
)

select * from final;
