-- Input: incoming, staged inferences of a pass, merged. Those that came in under the id of another one: their place, and
-- what they say. Grain: one row a staged row.
select
    incoming.position, incoming.inference_id as key, to_json(incoming)::varchar as raw
from incoming
join inferences using (inference_id)
where incoming.content_hash <> inferences.content_hash
order by incoming.position;
