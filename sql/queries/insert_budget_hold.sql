-- Parameters: $round_id, $stage, $period, $amount, $spent, $ceiling, $held_at.
insert into budget_holds values ($round_id, $stage, $period, $amount, $spent, $ceiling, $held_at);
