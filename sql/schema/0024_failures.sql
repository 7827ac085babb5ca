-- Inferences with a failing signal, as of now; see failures_at.
create view failures as
select * from failures_at(2147483647);
