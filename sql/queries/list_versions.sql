-- Every registered version with its round's verdict.
select version, round_id as round, verdict, versions.snapshot_hash, versions.adapter_path, versions.adapter_sha256, created_at
from versions
join rounds using (round_id)
order by round_id;
