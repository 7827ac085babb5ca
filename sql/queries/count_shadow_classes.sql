-- Parameter: $round_id. How many of a round's differing shadow answers are like the failures of each class; null: of none.
select cluster_id, any_value(label) as label, count(*) as answers
from shadow_answers
left join named_clusters using (cluster_id)
where round_id = $round_id and differs
group by cluster_id
order by cluster_id is null, answers desc, cluster_id;
