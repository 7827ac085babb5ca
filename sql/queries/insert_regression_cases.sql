-- Parameters: $round_id, $pinned_seq, $copies, $verified_by (patterns of producers), $known (inputs that the base knows by
-- heart, by hash), $leaked and $beyond_bound (reasons that cases were retired for). New cases, one a group of
-- near-duplicates and answer, and no more than `copies` of a group in one tier: fixed for corrections that are trained on,
-- unseen for held-out production rows, anchor for held-out given demonstrations that the base does not know by heart. A
-- held-out case needs a trusted producer behind its answer. What is withheld from training is no fixed case, and no case
-- at all where its answer is in doubt. A case whose answer stands again, after it was doubted or taken back, is another
-- version of it; what was too near to training rows never comes back, nor does what was too much.
insert into regression_cases by name
with candidates as (
    select
        signals.* replace (coalesce(verified.verified_by, signals.producer) as producer),
        sides.group_hash,
        case
            when sides.side = 'train' and signals.signal = 'correction' then 'fixed'
            when sides.side = 'unseen' and signals.stratum is not null then 'unseen'
            when sides.side = 'anchor' and signals.signal = 'demonstration' and signals.stratum is null then 'anchor'
        end as tier
    from signals_at($pinned_seq) as signals
    join sides using (input_hash)
    left join withheld using (signal_id)
    left join verified_at($pinned_seq, $verified_by) as verified using (signal_id)
    where signals.excluded_because is null
      and (withheld.signal_id is null or (not withheld.is_wrong and sides.side <> 'train'))
      and (verified.signal_id is not null or sides.side = 'train')
      and input_hash not in (select unnest($known))
      and input_hash not in (
          select input_hash from regression_cases where list_contains($leaked, retired_because)
      )
),

closed as (
    select regression_cases.signal_id, sides.group_hash, regression_cases.tier, regression_cases.expected
    from regression_cases
    join sides using (input_hash)
    where regression_cases.retired_round is null or list_contains($beyond_bound, regression_cases.retired_because)
),

taken as (
    select group_hash, tier, count(*) as cases from closed group by group_hash, tier
),

one_an_answer as (
    select
        candidates.*,
        max(ingest_seq) over (partition by group_hash, tier, answer) as last_seq
    from candidates
    anti join closed
        on candidates.group_hash = closed.group_hash
        and candidates.tier = closed.tier
        and candidates.answer = closed.expected
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
