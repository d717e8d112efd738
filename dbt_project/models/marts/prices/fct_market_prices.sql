-- A view on Postgres, which has the candles in other tables; on engines a table by month (macros/dialect/tables.sql). A
-- row depends on bars of its own day only, so an engine can build a range of days.
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

spans as (

    select
        timeframes.timeframe,
        {{ utc_span('timeframes.minutes', 'hours.started_at') }} as span_at,
        hours.*
    from hours
    cross join (values ('1h', 60), ('4h', 240), ('1d', 1440)) as timeframes (timeframe, minutes)

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
        crypto_id,
        timeframe,
        span_at as started_at,
        {{ first_by('open', 'started_at') }} as open,
        max(high) as high,
        min(low) as low,
        {{ last_by('close', 'started_at') }} as close,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        sum(trade_count)::bigint as trade_count,
        sum(minute_count)::integer as minute_count
    from spans
    group by crypto_id, timeframe, span_at

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
