-- Parameter: $prefix. Corrections whose id begins so, and why one was taken back; null where it stands.
select correction_id, inference_id, corrected_by, retracted.reason as retracted_because
from corrections
left join retracted_at(2147483647) as retracted using (content_hash)
where starts_with(correction_id, $prefix)
order by correction_id
limit 2;
