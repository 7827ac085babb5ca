-- Parameter: $pinned_seq. A sample of inputs that did not fail, by hash: what the terms of failures are held against.
select input
from inferences
where ingest_seq <= $pinned_seq
  and inference_id not in (select inference_id from failures_at($pinned_seq))
order by input_hash, inference_id
limit 200;
