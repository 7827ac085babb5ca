-- Parameter: $version.
select * from versions where version = $version;
