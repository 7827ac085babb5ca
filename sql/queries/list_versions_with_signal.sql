-- Parameter: $signal_id. Versions whose snapshot holds the signal.
select versions.version, versions.round_id as round, versions.snapshot_hash
from versions
join snapshot_rows using (snapshot_hash)
where snapshot_rows.signal_id = $signal_id
order by versions.round_id;
