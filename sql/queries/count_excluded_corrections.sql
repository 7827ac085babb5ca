-- Parameter: $pinned_seq. Corrections that are left out, by reason.
select excluded_because as reason, count(*) as rows
from corrections
where ingest_seq <= $pinned_seq and excluded_because is not null
group by excluded_because
order by rows desc, reason;
