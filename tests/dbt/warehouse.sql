-- The schemas, roles and raw tables of a tickmart database, for tests without the loader and the supervisor.
do $$
declare role_name text;
begin
    foreach role_name in array array['ingest', 'transform', 'dashboard_ro', 'quality_ro', 'reader'] loop
        if not exists (select from pg_roles where rolname = role_name) then
            execute format('create role %I', role_name);
        end if;
    end loop;
end $$;
create schema raw;
create schema ops;
create schema staging authorization transform;
create schema intermediate authorization transform;
create schema marts authorization transform;
grant usage on schema raw, ops to transform;
grant usage on schema marts to dashboard_ro;

create table raw.binance_klines (
    symbol text, interval text, open_time timestamptz, open numeric, high numeric, low numeric, close numeric,
    volume numeric, close_time timestamptz, quote_volume numeric, trade_count bigint, taker_buy_base_volume numeric,
    taker_buy_quote_volume numeric, loaded_at timestamptz not null default now(), batch_id text,
    primary key (symbol, interval, open_time)
);
create index binance_klines_loaded_at on raw.binance_klines using brin (loaded_at);
create table raw.coingecko_markets (
    crypto_id text, snapshot_at timestamptz, symbol text, name text, image text, current_price numeric,
    market_cap numeric, market_cap_rank integer, fully_diluted_valuation numeric, total_volume numeric, high_24h numeric,
    low_24h numeric, price_change_24h numeric, price_change_percentage_24h numeric, market_cap_change_24h numeric,
    market_cap_change_percentage_24h numeric, circulating_supply numeric, total_supply numeric, max_supply numeric,
    ath numeric, ath_change_percentage numeric, ath_date timestamptz, atl numeric, atl_change_percentage numeric,
    atl_date timestamptz, last_updated timestamptz, price_change_percentage_1h_in_currency numeric,
    price_change_percentage_24h_in_currency numeric, price_change_percentage_7d_in_currency numeric,
    payload jsonb not null, loaded_at timestamptz not null default now(), batch_id text,
    primary key (crypto_id, snapshot_at)
);
create index coingecko_markets_loaded_at on raw.coingecko_markets using brin (loaded_at);
create table raw.fear_greed (
    date date primary key, value integer, classification text, loaded_at timestamptz not null default now(), batch_id text
);
create table raw.universe (
    crypto_id text, binance_symbol text, name text, category text, valid_from date, valid_to date,
    loaded_at timestamptz not null default now(), batch_id text, primary key (crypto_id, binance_symbol)
);
