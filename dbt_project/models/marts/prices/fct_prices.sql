{#- The longest window, and one hour for the bar before its first return. -#}
{%- set hours_to_read_before = 2160 + 1 -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook=[
            "{{ delete_stale_series(current=ref('int_asset_watermarks')) }}",
            "{{ delete_stale_bars(ref('int_crypto_hourly')) }}",
        ],
        post_hook="{{ analyze_after_full_build() }}",
    )
}}

with changed as (

    {{ changed_series(ref('int_crypto_hourly')) }}

),

bars as (

    select
        bars.*,
        changed.first_opened_at,
        changed.last_unchanged_at,
        -- exact decimals of one scale: their sums do not depend on the first row read
        bars.log_return::numeric(18, 15) as exact_return
    {% if is_incremental() -%}
    from changed
    cross join lateral (
        select * from {{ ref('int_crypto_hourly') }} as hourly
        where
            hourly.crypto_id = changed.crypto_id
            and hourly.invalid_reason is null
            and hourly.opened_at > changed.last_unchanged_at - {{ hours(hours_to_read_before) }}
        offset 0
    ) as bars
    {%- else -%}
    from {{ ref('int_crypto_hourly') }} as bars
    inner join changed on bars.crypto_id = changed.crypto_id
    where bars.invalid_reason is null
    {%- endif %}

),

windowed as (

    select
        *,
        {% for hours_back in [24, 168] -%}
        lag(opened_at, {{ hours_back }}) over series as row_{{ hours_back }}_back_at,
        lag(close, {{ hours_back }}) over series as row_{{ hours_back }}_back_close,
        {% endfor -%}
        sum(quote_volume) over last_24h as quote_volume_24h,
        sum(volume) over last_24h as volume_24h,
        var_samp(exact_return) over last_24h as variance_24h,
        avg(close) over last_7d as mean_close_7d,
        var_samp(exact_return) over last_7d as variance_7d,
        avg(close) over last_30d as mean_close_30d,
        var_samp(exact_return) over last_30d as variance_30d,
        avg(close) over last_90d as mean_close_90d,
        sum(quote_volume) over today as quote_volume_today,
        sum(volume) over today as volume_today
    from bars
    window
        series as (partition by crypto_id order by opened_at),
        last_24h as (series {{ trailing_hours(24) }}),
        last_7d as (series {{ trailing_hours(168) }}),
        last_30d as (series {{ trailing_hours(720) }}),
        last_90d as (series {{ trailing_hours(2160) }}),
        today as (partition by crypto_id, {{ utc_date('opened_at') }} order by opened_at)

),

compared as (

    select
        *,
        -- the bar exactly that many hours earlier: nearly always that many rows back, otherwise looked up
        {% for hours_back in [24, 168] -%}
        case
            when row_{{ hours_back }}_back_at = opened_at - {{ hours(hours_back) }} then row_{{ hours_back }}_back_close
            else (
                select max(earlier.close)
                from {{ ref('int_crypto_hourly') }} as earlier
                where
                    earlier.crypto_id = windowed.crypto_id
                    and earlier.opened_at = windowed.opened_at - {{ hours(hours_back) }}
                    and earlier.invalid_reason is null
            )
        end as close_{{ hours_back }}h_earlier,
        {% endfor -%}
        -- a bar's close is known an hour after it opened; the first return needs one bar more than the first close
        opened_at - first_opened_at + {{ hours(1) }} as age_of_closes,
        opened_at - first_opened_at as age_of_returns
    from windowed

)

select
    crypto_id,
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    taker_buy_volume,
    {{ vwap('quote_volume', 'volume') }} as vwap_1h,
    {{ vwap('quote_volume_today', 'volume_today') }} as vwap_session,
    case when age_of_closes >= {{ hours(24) }} then {{ vwap('quote_volume_24h', 'volume_24h') }} end as vwap_24h,
    {{ change_pct('close', 'close_1h_earlier') }} as return_1h_pct,
    log_return as log_return_1h,
    {{ change_pct('close', 'close_24h_earlier') }} as change_24h_pct,
    {{ change_pct('close', 'close_168h_earlier') }} as change_7d_pct,
    case when age_of_closes >= {{ hours(168) }} then mean_close_7d::double precision end as ma_7d,
    case when age_of_closes >= {{ hours(720) }} then mean_close_30d::double precision end as ma_30d,
    case when age_of_closes >= {{ hours(2160) }} then mean_close_90d::double precision end as ma_90d,
    case when age_of_returns >= {{ hours(24) }} then {{ annualized('variance_24h', 24 * 365) }} end as volatility_24h,
    case when age_of_returns >= {{ hours(168) }} then {{ annualized('variance_7d', 24 * 365) }} end as volatility_7d,
    case when age_of_returns >= {{ hours(720) }} then {{ annualized('variance_30d', 24 * 365) }} end as volatility_30d,
    binance_symbol,
    loaded_at as known_at,
    loaded_at,
    series_version
from compared
where opened_at > last_unchanged_at
