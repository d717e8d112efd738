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
