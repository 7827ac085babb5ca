-- Every round with where it stands, the latest first; without its evidence, which is long.
select round_id, stage, verdict, challenger_version from rounds order by round_id desc;
