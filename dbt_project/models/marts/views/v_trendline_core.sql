-- The ten largest tracked assets of the latest snapshot; without one, the first ten of the universe that have bars.
with core as (

    select
        crypto_id,
        symbol,
        name,
        market_cap_rank,
        last_bar_at
    from {{ ref('dim_crypto') }}
    where last_bar_at is not null
    order by market_cap_rank, crypto_id
    limit 10

),

clock as (

    select max(last_bar_at) as newest_bar_at from core

),

bars as (

    select
        core.crypto_id,
        core.symbol,
        core.name,
        core.market_cap_rank,
        prices.opened_at,
        prices.close::double precision as close
    from core
    cross join clock
    -- one index range per asset: a plain join read every bar of the table
    cross join lateral (
        select
            opened_at,
            close
        from {{ ref('fct_prices') }} as hourly
        where
            hourly.crypto_id = core.crypto_id
            and hourly.opened_at > clock.newest_bar_at - {{ hours(168) }}
        offset 0
    ) as prices

),

fitted as (

    select
        *,
        extract(epoch from opened_at - min(opened_at) over asset) / 3600 as hours_since_start,
        first_value(close) over (partition by crypto_id order by opened_at) as first_close
    from bars
    window asset as (partition by crypto_id)

)

select
    crypto_id,
    symbol,
    name,
    market_cap_rank,
    opened_at,
    close,
    100 * close / first_close as index_100,
    regr_intercept(close, hours_since_start::double precision) over asset
    + regr_slope(close, hours_since_start::double precision) over asset * hours_since_start::double precision as trend,
    100 * 24 * regr_slope(close, hours_since_start::double precision) over asset / first_close as slope_pct_per_day
from fitted
window asset as (partition by crypto_id)
