-- Input: incoming, staged preferences of a pass. Stores what those state that state more than which answer is better.
insert or ignore into details by name
select
    content_hash, any_value(licence) as licence, any_value(guideline) as guideline,
    any_value(scale) as scale, any_value(degree) as degree, any_value(rubric) as rubric, any_value(is_close) as is_close
from incoming
where coalesce(licence, guideline, rubric) is not null or coalesce(scale, degree) is not null or is_close is not null
group by content_hash;
