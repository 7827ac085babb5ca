-- Input: incoming(question_hash). What was said before to these questions. Grain: one row a question.
select judgements.question_hash, judgements.verdict
from judgements
join incoming using (question_hash);
