-- Parameter: $pinned_seq. Usable rows on the training side, one a group of near-duplicates, signal and answer.
select
    signals.signal, signals.signal_id, signals.inference_id, signals.input, signals.input_hash, signals.answer,
    signals.slices, signals.stratum, signals.producer, signals.source, signals.content_hash, signals.cluster_id
from signals_at($pinned_seq) as signals
join sides using (input_hash)
where sides.side = 'train'
  and signals.excluded_because is null
qualify row_number() over (partition by sides.group_hash, signals.signal, signals.answer order by signals.signal_id) = 1
order by signals.signal_id;
