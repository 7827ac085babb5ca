-- Parameters: $after_seq. Under which names production's calls have come in since a pass, the most frequent first.
select model_version as name, count(*) as calls
from inferences
where ingest_seq > $after_seq
group by model_version
order by calls desc, name;
