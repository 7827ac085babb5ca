-- The last pass over the sources that a judged round has seen; 0 before the first (a round that was given up judged none).
select coalesce(max(pinned_seq), 0) as pinned_seq from judged_rounds;
