-- Input: incoming(correction_id). Corrections beyond the share that one producer may have are left out.
update corrections
set excluded_because = 'beyond the share of one producer'
from incoming
where corrections.correction_id = incoming.correction_id;
