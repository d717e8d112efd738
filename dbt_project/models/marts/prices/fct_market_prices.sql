-- A view on Postgres, which has the candles in other tables; on engines a table by month (macros/dialect/tables.sql). A row
-- depends on bars of its own day only, so an engine can build a range of days.
with quarters as (

    select
        crypto_id,
        timeframe,
        started_at,
        {{ utc_hour('started_at') }} as hour_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        minute_count
    from {{ ref('fct_candles_intraday') }}
    where timeframe = '15m'

),

bars as (

    select
        crypto_id,
        opened_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count
    from {{ ref('int_crypto_hourly') }}
    where invalid_reason is null

),

-- an hour is its 1h bar, or else its quarters
hours as (

    select
        crypto_id,
        opened_at as started_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        60 as minute_count
    from bars

    union all

    select
        quarters.crypto_id,
        quarters.hour_at as started_at,
        {{ first_by('quarters.open', 'quarters.started_at') }} as open,
        max(quarters.high) as high,
        min(quarters.low) as low,
        {{ last_by('quarters.close', 'quarters.started_at') }} as close,
        sum(quarters.volume) as volume,
        sum(quarters.quote_volume) as quote_volume,
        sum(quarters.trade_count)::bigint as trade_count,
        sum(quarters.minute_count)::integer as minute_count
    from quarters
    left join bars
        on quarters.crypto_id = bars.crypto_id
        and quarters.hour_at = bars.opened_at
    where bars.crypto_id is null
    group by quarters.crypto_id, quarters.hour_at

),

candles as (

    select
        crypto_id,
        timeframe,
        started_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        minute_count
    from quarters

    union all

    select
        hours.crypto_id,
        timeframes.timeframe,
        {{ utc_span('timeframes.minutes', 'hours.started_at') }} as started_at,
        {{ first_by('hours.open', 'hours.started_at') }} as open,
        max(hours.high) as high,
        min(hours.low) as low,
        {{ last_by('hours.close', 'hours.started_at') }} as close,
        sum(hours.volume) as volume,
        sum(hours.quote_volume) as quote_volume,
        sum(hours.trade_count)::bigint as trade_count,
        sum(hours.minute_count)::integer as minute_count
    from hours
    cross join (values ('1h', 60), ('4h', 240), ('1d', 1440)) as timeframes (timeframe, minutes)
    group by hours.crypto_id, timeframes.timeframe, timeframes.minutes, {{ utc_span('timeframes.minutes', 'hours.started_at') }}

)

select
    crypto_id,
    timeframe,
    started_at,
    {{ utc_date('started_at') }} as date,
    {{ start_of("'month'", utc_date('started_at')) }} as month_start,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    {{ vwap('quote_volume', 'volume') }} as vwap,
    minute_count
from candles
