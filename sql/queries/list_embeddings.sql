-- Input: incoming(text_hash, place). Parameters: $encoder. The vectors that are stored of these texts, in any order.
select incoming.place, embeddings.vector
from incoming join embeddings using (text_hash)
where embeddings.encoder = $encoder;
