-- Input: incoming(text_hash, encoder, vector).
insert or ignore into embeddings by name select * from incoming;
