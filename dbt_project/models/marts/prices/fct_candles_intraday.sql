{%- set changed = changed_intraday_days() -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_changed_intraday_days() }}",
        indexes=[{'columns': ['date']}],
    )
}}

with universe as (

    select {{ whole_universe_fingerprint() }} as universe_version
    from {{ ref('stg_tickmart__universe') }}

),

series as (

    select
        crypto_id,
        binance_symbol,
        valid_from_at,
        valid_to_at
    from {{ ref('stg_tickmart__universe') }}

),

bars as (

    select
        series.crypto_id,
        {{ utc_span(15, 'bars.opened_at') }} as quarter_at,
        bars.*
    from {{ ref('stg_binance__ohlcv') }} as bars
    inner join series
        on bars.binance_symbol = series.binance_symbol
        and bars.opened_at >= series.valid_from_at
        and bars.opened_at < series.valid_to_at
    where
        bars.bar_interval in ('15m', '1m')
        and not {{ loaded_in_the_future('bars') }}
        and {{ is_on_days('bars.opened_at', changed) }}

),

quarters as (

    select
        crypto_id,
        quarter_at,
        bar_interval,
        {{ first_by('open', 'opened_at', 'invalid_reason is null') }} as open,
        max(high) filter (where invalid_reason is null) as high,
        min(low) filter (where invalid_reason is null) as low,
        {{ last_by('close', 'opened_at', 'invalid_reason is null') }} as close,
        sum(volume) filter (where invalid_reason is null) as volume,
        sum(quote_volume) filter (where invalid_reason is null) as quote_volume,
        sum(trade_count) filter (where invalid_reason is null) as trade_count,
        count(*) filter (where invalid_reason is null)
        * case bar_interval when '15m' then 15 else 1 end as minute_count,
        max(loaded_at) as loaded_at
    from bars
    group by crypto_id, quarter_at, bar_interval

),

-- a 15m bar where it is loaded, else its 1m bars
ranked as (

    select
        *,
        row_number() over (
            partition by crypto_id, quarter_at order by minute_count > 0 desc, bar_interval = '15m' desc
        ) as rank_in_quarter,
        max(loaded_at) over (partition by crypto_id, quarter_at) as newest_loaded_at
    from quarters

)

select
    ranked.crypto_id,
    timeframes.timeframe,
    {{ utc_span('timeframes.minutes', 'ranked.quarter_at') }} as started_at,
    {{ utc_date('min(ranked.quarter_at)') }} as date,
    {{ first_by('ranked.open', 'ranked.quarter_at') }} as open,
    max(ranked.high) as high,
    min(ranked.low) as low,
    {{ last_by('ranked.close', 'ranked.quarter_at') }} as close,
    sum(ranked.volume) as volume,
    sum(ranked.quote_volume) as quote_volume,
    sum(ranked.trade_count)::bigint as trade_count,
    {{ vwap('sum(ranked.quote_volume)', 'sum(ranked.volume)') }} as vwap,
    sum(ranked.minute_count)::integer as minute_count,
    max(ranked.newest_loaded_at) as loaded_at,
    universe.universe_version
from ranked
cross join universe
cross join (values ('15m', 15), ('4h', 240)) as timeframes (timeframe, minutes)
where
    ranked.rank_in_quarter = 1
    and ranked.minute_count > 0
group by ranked.crypto_id, universe.universe_version, timeframes.timeframe, timeframes.minutes, started_at
