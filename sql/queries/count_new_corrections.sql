-- Corrections, joined to their inference, that no round has judged yet (a round that was given up has not).
select count(*) as corrections
from corrections
where input_hash is not null
  and ingest_seq > (
      select coalesce(max(pinned_seq), 0) from rounds where verdict is not null
  );
