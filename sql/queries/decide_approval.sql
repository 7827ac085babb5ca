-- Parameters: $round_id, $decision, $decided_by, $reason, $decided_at. Changes nothing where it is decided already.
update approvals
set decision = $decision, decided_by = $decided_by, reason = $reason, decided_at = $decided_at
where round_id = $round_id and decision is null;
