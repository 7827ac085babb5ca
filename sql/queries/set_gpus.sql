-- Parameters: $round_id, $stage, $gpus, $spent_at. The CUDA devices that the stage's child has from now on.
insert into costs (round_id, stage, gpus, spent_at)
values ($round_id, $stage, $gpus, $spent_at)
on conflict (round_id, stage) do update set gpus = excluded.gpus;
