-- Applied migrations with the hash of the file each came from.
select number, sha256 from schema_migrations order by number;
