-- Rounds whose challenger came to a verdict. One that was given up has none, and one that its budget stopped is held
-- without having been judged: what they had collected still counts as new. Grain: one row a round.
create view judged_rounds as
select round_id, pinned_seq, champion_version, snapshot_hash
from rounds
where verdict is not null
  and round_id not in (select round_id from budget_holds);
