-- Parameters: $round_id, $pinned_seq, $copies. New cases, one a group of near-duplicates and answer, and no more than
-- `copies` of a group in one tier: fixed for corrections that are trained on, unseen for held-out production rows,
-- anchor for held-out given demonstrations. What is withheld from training is no fixed case, and no case at all where its
-- answer is in doubt. A case whose answer stands again, after it was doubted or taken back, is another version of it.
insert into regression_cases by name
with candidates as (
    select
        signals.*,
        sides.group_hash,
        case
            when sides.side = 'train' and signals.signal = 'correction' then 'fixed'
            when sides.side = 'unseen' and signals.stratum is not null then 'unseen'
            when sides.side = 'anchor' and signals.signal = 'demonstration' and signals.stratum is null then 'anchor'
        end as tier
    from signals_at($pinned_seq) as signals
    join sides using (input_hash)
    left join withheld using (signal_id)
    where signals.excluded_because is null
      and (withheld.signal_id is null or (not withheld.is_wrong and sides.side <> 'train'))
),

closed as (
    select signal_id
    from regression_cases
    where retired_round is null or retired_because = 'near-duplicate of a training row'
),

active as (
    select sides.group_hash, regression_cases.tier, regression_cases.expected
    from regression_cases
    join sides using (input_hash)
    where regression_cases.retired_round is null
),

taken as (
    select group_hash, tier, count(*) as cases from active group by group_hash, tier
),

one_an_answer as (
    select
        candidates.*,
        max(ingest_seq) over (partition by group_hash, tier, answer) as last_seq
    from candidates
    anti join active
        on candidates.group_hash = active.group_hash
        and candidates.tier = active.tier
        and candidates.answer = active.expected
    where tier is not null
      and signal_id not in (select signal_id from closed)
    qualify row_number() over (partition by group_hash, tier, answer order by signal_id) = 1
),

final as (
    select
        signal_id || case when signal_id in (select signal_id from regression_cases) then '@' || $round_id else '' end
            as case_id,
        input, input_hash, answer as expected, tier, stratum, cluster_id, slices,
        signal_id, producer, source, $round_id as added_round
    from one_an_answer
    left join taken using (group_hash, tier)
    qualify row_number() over (partition by group_hash, tier order by last_seq desc, signal_id)
        + coalesce(taken.cases, 0) <= $copies
)

select * from final;
