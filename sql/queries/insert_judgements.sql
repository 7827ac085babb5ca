-- Input: incoming, by the columns of judgements. A question that was answered meanwhile keeps its first answer.
insert or ignore into judgements by name select * from incoming;
