-- Input: incoming, staged demonstrations of a pass, merged. Those that came in under the id of another one: their place, and
-- what they say. Grain: one row a staged row.
select
    incoming.position, incoming.demonstration_id as key, to_json(incoming)::varchar as raw
from incoming
join demonstrations using (demonstration_id)
where incoming.content_hash <> demonstrations.content_hash
order by incoming.position;
