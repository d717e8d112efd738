-- A run builds a model only when the rows that it reads have changed since its last build.

alter table ops.load_ledger add column changed_at timestamptz;
comment on column ops.load_ledger.changed_at is 'When a load of the object last inserted or updated rows in raw; null if none did.';

update ops.load_ledger set changed_at = loaded_at where inserted + updated > 0;

create table ops.model_builds (
    node text primary key,
    inputs text not null,
    run_id text not null,
    built_at timestamptz not null default clock_timestamp()
);
comment on table ops.model_builds is 'The last build of each dbt node that succeeded with its tests, and the versions of the raw tables that it read.';
