-- Parameters: $hashes (list), $reason, $round_id. Held-out cases of these inputs.
update regression_cases
set retired_round = $round_id, retired_because = $reason
where retired_round is null
  and tier <> 'fixed'
  and input_hash in (select unnest($hashes));
