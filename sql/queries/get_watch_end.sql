-- Parameters: $days, $moved_at. When the sources were last passed over, and whether the watch of a move is over by then.
select
    max(finished_at) as as_of,
    if(max(finished_at) > $moved_at + to_microseconds(($days * 86400e6)::bigint), 'over', 'watching') as state
from collections;
