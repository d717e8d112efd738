-- Who provides a dataset, how old its data may be, and which assets are about it stood in Python, SQL and YAML at once.

create table ops.datasets (
    dataset text primary key,
    source text not null,
    sla_seconds integer not null check (sla_seconds > 0),
    degraded_after_seconds integer not null check (degraded_after_seconds >= sla_seconds),
    declared_at timestamptz not null default clock_timestamp()
);
comment on table ops.datasets is
'One row per dataset as the newest run declared it (ingestion/datasets.py and that run''s settings).';
comment on column ops.datasets.sla_seconds is 'Age of the newest data past which the dataset is late: a warning.';
comment on column ops.datasets.degraded_after_seconds is 'Age of the newest data past which the dataset is degraded.';
comment on column ops.datasets.declared_at is 'When a declaration that differs from the one before was first written.';

create table ops.dataset_assets (
    dataset text not null references ops.datasets (dataset) on delete cascade,
    asset text not null,
    primary key (dataset, asset)
);
create index dataset_assets_asset on ops.dataset_assets (asset);
comment on table ops.dataset_assets is
'Which datasets a failed check of an asset counts for, from the dbt manifest of the newest run.';
