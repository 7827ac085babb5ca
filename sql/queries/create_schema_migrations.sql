-- The list of applied migrations. Grain: one row a migration.
create table if not exists schema_migrations (
    number integer primary key,
    name text not null,
    sha256 text not null,
    applied_at timestamp not null default (now() at time zone 'UTC')
);
