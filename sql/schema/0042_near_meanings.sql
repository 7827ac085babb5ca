-- Short texts are near-duplicates by the cosine of their embeddings too; null for a pair that was found by its words.
alter table near_duplicates add column cosine double;
