-- Parameter: $answered_by. What has been answered to each case by this model, decoding and engine before.
select case_id, any_value(output) as output
from case_results
where answered_by = $answered_by
group by case_id;
