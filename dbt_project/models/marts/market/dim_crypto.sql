{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_all_rows() }}",
    )
}}

with universe as (

    select * from {{ ref('stg_tickmart__universe') }}

),

-- a renamed asset has several rows; the row with the latest validity has the current name
ranked as (

    select
        *,
        row_number() over (
            partition by crypto_id order by valid_to_at desc, valid_from_at desc, binance_symbol
        ) as recency
    from universe

),

current_names as (

    select
        crypto_id,
        binance_symbol,
        name,
        category
    from ranked
    where recency = 1

),

newest_snapshots as (

    select
        current_names.crypto_id,
        (
            select max(snapshots.snapshot_at)
            from {{ ref('fct_market_snapshots') }} as snapshots
            where snapshots.crypto_id = current_names.crypto_id
        ) as snapshot_at
    from current_names

),

latest_snapshots as (

    select snapshots.*
    from newest_snapshots
    inner join {{ ref('fct_market_snapshots') }} as snapshots
        on newest_snapshots.crypto_id = snapshots.crypto_id
        and newest_snapshots.snapshot_at = snapshots.snapshot_at

)

select
    current_names.crypto_id,
    coalesce(
        latest_snapshots.symbol,
        regexp_replace(current_names.binance_symbol, '(USDT|USDC|FDUSD|BUSD)$', '')
    ) as symbol,
    current_names.name,
    current_names.category,
    current_names.binance_symbol,
    series.first_opened_at as first_bar_at,
    series.last_opened_at as last_bar_at,
    latest_snapshots.market_cap_rank,
    latest_snapshots.circulating_supply,
    latest_snapshots.total_supply,
    latest_snapshots.max_supply,
    latest_snapshots.image_url,
    latest_snapshots.snapshot_at
from current_names
left join {{ ref('int_asset_watermarks') }} as series on current_names.crypto_id = series.crypto_id
left join latest_snapshots on current_names.crypto_id = latest_snapshots.crypto_id
