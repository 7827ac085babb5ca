-- What judges said. Grain: one row a question, by the hash of the judge and of all that it was asked. mode: pairwise, or
-- the scale of a pointwise judge. verdict: null where none could be read in the reply.
create table judgements (
    question_hash text primary key,
    mode text not null check (mode in ('pairwise', 'yes_no', '1-5')),
    model text not null,
    verdict text check (verdict in ('A', 'B', 'tie', 'yes', 'no', '1', '2', '3', '4', '5')),
    reply text not null,
    judged_at timestamp not null
);
