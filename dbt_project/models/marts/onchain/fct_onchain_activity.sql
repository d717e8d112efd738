{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_changed_days(activity_days(), ['loaded_at', 'day_block_count', 'market_loaded_at', 'day_bar_count', 'intraday_loaded_at', 'day_quarter_count']) }}",
        indexes=[{'columns': ['date']}],
    )
}}

with days as (

    select activity_days.*
    from {{ activity_days() }} as activity_days
    where {{ is_missing_day('activity_days') }}

),

hourly as (

    select bars.*
    from days
    inner join {{ ref('int_crypto_hourly') }} as bars
        on bars.opened_at >= {{ utc_midnight('days.date') }}
        and bars.opened_at < {{ utc_midnight('days.date + 1') }}
    where
        bars.crypto_id = 'bitcoin'
        and bars.invalid_reason is null

),

candles as (

    select
        timeframes.timeframe,
        {{ utc_span('timeframes.minutes', 'hourly.opened_at') }} as started_at,
        {{ first_by('hourly.open', 'hourly.opened_at') }} as open,
        max(hourly.high) as high,
        min(hourly.low) as low,
        {{ last_by('hourly.close', 'hourly.opened_at') }} as close,
        sum(hourly.volume) as volume,
        sum(hourly.quote_volume) as quote_volume,
        sum(hourly.trade_count)::bigint as trade_count
    from hourly
    cross join (values ('1h', 60), ('4h', 240), ('1d', 1440)) as timeframes (timeframe, minutes)
    group by timeframes.timeframe, timeframes.minutes, started_at
    having count(*) = timeframes.minutes / 60

    union all

    select
        quarters.timeframe,
        quarters.started_at,
        quarters.open,
        quarters.high,
        quarters.low,
        quarters.close,
        quarters.volume,
        quarters.quote_volume,
        quarters.trade_count
    from days
    inner join {{ ref('fct_candles_intraday') }} as quarters on days.date = quarters.date
    where
        quarters.crypto_id = 'bitcoin'
        and quarters.timeframe = '15m'
        and quarters.minute_count = 15

)

select
    activity.crypto_id,
    activity.timeframe,
    activity.started_at,
    activity.date,
    activity.transaction_count,
    activity.coinbase_count,
    activity.block_count,
    activity.output_btc,
    activity.fee_btc,
    activity.unknown_fee_count,
    activity.virtual_bytes,
    activity.median_fee_rate,
    activity.p90_fee_rate,
    candles.open,
    candles.high,
    candles.low,
    candles.close,
    candles.volume,
    candles.quote_volume,
    candles.trade_count,
    days.loaded_at,
    days.day_block_count,
    days.market_loaded_at,
    days.day_bar_count,
    days.intraday_loaded_at,
    days.day_quarter_count
from days
inner join {{ ref('int_onchain_activity') }} as activity on days.date = activity.date
left join candles
    on activity.timeframe = candles.timeframe
    and activity.started_at = candles.started_at
