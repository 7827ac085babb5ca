-- Parameter: $signal_id. The snapshots that a signal is in, with the round that froze each and its version, if it has
-- one. Grain: one row a row of a snapshot and round.
select
    snapshot_rows.snapshot_hash, snapshot_rows.position, snapshot_rows.signal as kind, snapshot_rows.derived,
    rounds.round_id as round, rounds.verdict, versions.version
from snapshot_rows
join rounds using (snapshot_hash)
left join versions using (round_id)
where snapshot_rows.signal_id = $signal_id
order by round, position;
