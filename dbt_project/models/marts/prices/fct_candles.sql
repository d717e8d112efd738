{%- set first_day = first_changed_day('last_date') -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_stale_candles() }}",
        indexes=[{'columns': ['last_date']}],
    )
}}

-- a changed candle is written again from the first day of its week or month
with daily as (

    select
        timeframes.timeframe,
        {{ start_of('timeframes.timeframe', 'bars.date') }} as started_on,
        bars.*
    from {{ ref('int_crypto_daily') }} as bars
    cross join (values ('week'), ('month')) as timeframes (timeframe)
    where
        '{{ first_day }}'::date < 'infinity'::date
        and bars.close is not null
        and bars.date >= {{ timeframe_start('timeframes.timeframe', first_day) }}

),

candles as (

    select
        crypto_id,
        timeframe,
        started_on,
        max(date) as last_date,
        {{ first_by('open', 'date') }} as open,
        max(high) as high,
        min(low) as low,
        {{ last_by('close', 'date') }} as close,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        sum(trade_count)::bigint as trade_count,
        count(*)::integer as day_count,
        sum(bar_count)::integer as bar_count
    from daily
    group by crypto_id, timeframe, started_on

)

select
    candles.crypto_id,
    candles.timeframe,
    candles.started_on,
    candles.last_date,
    candles.open,
    candles.high,
    candles.low,
    candles.close,
    candles.volume,
    candles.quote_volume,
    candles.trade_count,
    {{ vwap('candles.quote_volume', 'candles.volume') }} as vwap,
    candles.day_count,
    candles.bar_count,
    days.loaded_at,
    days.universe_version
from candles
inner join {{ ref('int_day_watermarks') }} as days on candles.last_date = days.date
