-- Input: incoming, staged records of a pass and one kind. Stores the licence and guideline of those that state any.
insert or ignore into details by name
select content_hash, any_value(licence) as licence, any_value(guideline) as guideline
from incoming
where licence is not null or guideline is not null
group by content_hash;
