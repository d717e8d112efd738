-- Daily on-chain series of Bitcoin, one partition per provider, so that each dataset loads a table of its own name.

create table raw.onchain_daily (
    source text not null,
    asset text not null,
    metric text not null,
    date date not null,
    value numeric not null,
    source_url text not null,
    fetched_at timestamptz not null,
    loaded_at timestamptz not null default clock_timestamp(),
    batch_id text not null,
    primary key (source, asset, metric, date)
) partition by list (source);

create table raw.onchain_daily_coinmetrics partition of raw.onchain_daily for values in ('coinmetrics');
create table raw.onchain_daily_blockchain partition of raw.onchain_daily for values in ('blockchain');

create table ops.series_requests (
    dataset text not null,
    series text not null,
    answered_at timestamptz not null,
    history_at timestamptz,
    primary key (dataset, series)
);
comment on table ops.series_requests is
'One row per daily series of a dataset: when it was last requested and answered, so that a run requests what can be new.';
comment on column ops.series_requests.history_at is
'When the complete history was last answered; null after a bronze object was damaged, so that it is requested again.';

alter table ops.datasets add column optional boolean not null default false;
comment on column ops.datasets.optional is
'Whether a run without an answer of the source is complete: then only this dataset ages.';
