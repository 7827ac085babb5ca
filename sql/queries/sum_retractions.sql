-- What was taken back, in sum. Grain: one row a pass over the sources and producer.
select collections.finished_at as taken_at, retractions.producer, count(*) as retractions
from retractions
join collections using (ingest_seq)
group by collections.ingest_seq, collections.finished_at, retractions.producer
order by collections.ingest_seq, retractions.producer;
