-- Parameters: $numbers, $names, $hashes, lists of one length. The migrations that have just been applied.
insert into schema_migrations (number, name, sha256)
select unnest($numbers), unnest($names), unnest($hashes);
