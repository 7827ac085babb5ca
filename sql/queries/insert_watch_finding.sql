-- Parameters: a finding, unless it is on record. Changes one row where it was not.
insert into watch_findings by name
select
    $move_id as move_id, $finding as finding, $cluster_id as cluster_id, $said as said, $numbers as numbers,
    $found_at as found_at
on conflict do nothing;
