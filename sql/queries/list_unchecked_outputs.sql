-- Parameter: $ingest_seq. The different outputs of the calls that a pass brought in.
select distinct output from inferences where ingest_seq = $ingest_seq order by output;
