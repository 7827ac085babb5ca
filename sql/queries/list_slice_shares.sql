-- Parameter: $pinned_seq. Each slice's share of production.
select slices, count(*) / sum(count(*)) over () as share
from inferences
where ingest_seq <= $pinned_seq
group by slices;
