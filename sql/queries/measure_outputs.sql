-- Parameter: $pinned_seq. How long production's outputs are, in characters: the range that all but one in a hundred keep.
select
    count(*) as outputs,
    quantile_cont(length(output), 0.005) as shortest,
    quantile_cont(length(output), 0.995) as longest
from inferences
where ingest_seq <= $pinned_seq;
