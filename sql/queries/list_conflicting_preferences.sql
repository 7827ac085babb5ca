-- Input: incoming, staged preferences of a pass, merged. Those that came in under the id of another one: their place, and
-- what they say. Grain: one row a staged row.
select
    incoming.position, incoming.preference_id as key, to_json(incoming)::varchar as raw
from incoming
join preferences using (preference_id)
where incoming.content_hash <> preferences.content_hash
order by incoming.position;
