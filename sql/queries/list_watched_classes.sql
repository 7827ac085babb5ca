-- Parameters: $moved_at, $version. The classes of failures that there were at a moment, and what the version's suite said
-- of them where it was trained on their corrections: cases of failures that it was not trained on and how many of these it
-- got right; where there are none, those that it was trained on. Null where it was not trained on the class.
with trained as (
    select distinct snapshot_rows.cluster_id
    from versions
    join snapshot_rows using (snapshot_hash)
    where version = $version and signal = 'correction'
),

outcomes as (
    select
        regression_cases.cluster_id,
        count(*) filter (where tier = 'unseen') as unseen,
        count(*) filter (where tier = 'unseen' and is_right) as unseen_right,
        count(*) filter (where tier = 'fixed') as fixed,
        count(*) filter (where tier = 'fixed' and is_right) as fixed_right
    from versions
    join case_results using (round_id)
    join regression_cases using (case_id)
    where version = $version and role = 'challenger' and stratum = 'failure'
    group by regression_cases.cluster_id
),

final as (
    select
        clusters.cluster_id, named_clusters.label,
        if(trained.cluster_id is null, null, if(unseen > 0, unseen, fixed)) as cases,
        if(trained.cluster_id is null, null, if(unseen > 0, unseen_right, fixed_right)) as right_cases
    from clusters
    join named_clusters using (cluster_id)
    left join trained on trained.cluster_id = clusters.cluster_id
    left join outcomes on outcomes.cluster_id = clusters.cluster_id
    where clusters.created_at <= $moved_at
)

select * from final order by cluster_id;
