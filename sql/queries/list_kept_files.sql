-- What rounds and versions refer to on disk, to tell what may be pruned. Grain: one row a round. is_closed: nothing will
-- read or write its working files any more; version: the one that came of it, if one did; adapter_path and snapshot_path:
-- the round's own, and where a version is on record for it, the version's.
select
    rounds.round_id,
    rounds.stage = 'closed' as is_closed,
    versions.version,
    rounds.adapter_path,
    versions.adapter_path as version_adapter_path,
    of_round.path as snapshot_path,
    of_version.path as version_snapshot_path
from rounds
left join versions using (round_id)
left join snapshots as of_round on of_round.snapshot_hash = rounds.snapshot_hash
left join snapshots as of_version on of_version.snapshot_hash = versions.snapshot_hash
order by rounds.round_id;
