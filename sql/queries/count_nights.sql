-- Parameter: $round_id. Rounds that were judged against the round's champion before it.
select count(*) as nights
from judged_rounds
where round_id < $round_id
  and champion_version is not distinct from (select champion_version from rounds where round_id = $round_id);
