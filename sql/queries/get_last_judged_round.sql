-- Parameter: $round_id. The last round before it that was judged.
select *
from rounds
where round_id = (select max(round_id) from judged_rounds where round_id < $round_id);
