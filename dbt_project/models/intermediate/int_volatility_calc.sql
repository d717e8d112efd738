{{ config(indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}]) }}

with daily as (

    select * from {{ ref('int_crypto_daily') }}

),

chained as (

    select
        *,
        case
            when lag(date) over series = date - 1 then lag(close) over series
        end as previous_close
    from daily
    window series as (partition by crypto_id order by date)

),

returns as (

    select
        *,
        (close - previous_close) / previous_close as simple_return,
        {{ log_return('close', 'previous_close') }} as log_return
    from chained

),

paired as (

    select
        asset.*,
        case when asset.simple_return is not null then bitcoin.simple_return end as btc_return,
        case when bitcoin.simple_return is not null then asset.simple_return end as return_beside_btc
    from returns as asset
    left join returns as bitcoin
        on asset.date = bitcoin.date
        and bitcoin.crypto_id = 'bitcoin'

),

windowed as (

    select
        *,
        count(log_return) over last_7 as returns_7,
        stddev_samp(log_return) over last_7 as stddev_7,
        count(log_return) over last_30 as returns_30,
        stddev_samp(log_return) over last_30 as stddev_30,
        count(log_return) over last_90 as returns_90,
        stddev_samp(log_return) over last_90 as stddev_90,
        avg(simple_return) over last_90 as mean_return_90,
        stddev_samp(simple_return) over last_90 as stddev_return_90,
        count(btc_return) over last_90 as pairs_90,
        sum(btc_return) over last_90 as sum_btc_90,
        sum(return_beside_btc) over last_90 as sum_asset_90,
        sum(btc_return * btc_return) over last_90 as sum_btc_btc_90,
        sum(btc_return * return_beside_btc) over last_90 as sum_btc_asset_90
    from paired
    window
        series as (partition by crypto_id order by date),
        last_7 as (series rows between 6 preceding and current row),
        last_30 as (series rows between 29 preceding and current row),
        last_90 as (series rows between 89 preceding and current row)

)

select
    crypto_id,
    date,
    close,
    simple_return,
    log_return,
    {{ annualised('case when returns_7 = 7 then stddev_7 end', 365) }} as volatility_7d,
    {{ annualised('case when returns_30 = 30 then stddev_30 end', 365) }} as volatility_30d,
    {{ annualised('case when returns_90 = 90 then stddev_90 end', 365) }} as volatility_90d,
    case when returns_90 = 90 then (mean_return_90 / nullif(stddev_return_90, 0))::double precision end
    * sqrt(365::double precision) as sharpe_90d,
    case
        when pairs_90 = 90
            then (
                (90 * sum_btc_asset_90 - sum_btc_90 * sum_asset_90)
                / nullif(90 * sum_btc_btc_90 - sum_btc_90 * sum_btc_90, 0)
            )::double precision
    end as beta_btc_90d,
    loaded_at,
    series_version
from windowed
