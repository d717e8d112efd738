{%- set first_day = first_changed_day() -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_stale_days() }}",
        indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}, {'columns': ['date']}],
    )
}}

-- the longest window needs 90 returns in a row, which 91 days before the first changed day contain
with daily as (

    select * from {{ ref('int_crypto_daily') }}
    where
        close is not null
        and date >= '{{ first_day }}'::date - 91

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
        -- exact decimals: their sums do not depend on the first row read
        ({{ log_return('close', 'previous_close') }})::numeric as log_return
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
        var_samp(log_return) over last_7 as variance_7,
        count(log_return) over last_30 as returns_30,
        var_samp(log_return) over last_30 as variance_30,
        count(log_return) over last_90 as returns_90,
        var_samp(log_return) over last_90 as variance_90,
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
    windowed.crypto_id,
    windowed.date,
    windowed.simple_return,
    windowed.log_return,
    case when returns_7 = 7 then {{ annualized('variance_7', 365) }} end as volatility_7d,
    case when returns_30 = 30 then {{ annualized('variance_30', 365) }} end as volatility_30d,
    case when returns_90 = 90 then {{ annualized('variance_90', 365) }} end as volatility_90d,
    case
        when returns_90 = 90 then {{ ratio('mean_return_90', 'stddev_return_90') }} * sqrt(365::double precision)
    end as sharpe_90d,
    case
        when pairs_90 = 90
            then {{ ratio(
                '90 * sum_btc_asset_90 - sum_btc_90 * sum_asset_90',
                '90 * sum_btc_btc_90 - sum_btc_90 * sum_btc_90',
            ) }}
    end as beta_btc_90d,
    days.loaded_at,
    days.universe_version
from windowed
inner join {{ ref('int_day_watermarks') }} as days on windowed.date = days.date
where windowed.date >= '{{ first_day }}'::date
