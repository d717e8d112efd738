{{
    config(
        materialized='incremental',
        unique_key=['crypto_id', 'opened_at'],
        on_schema_change='fail',
        pre_hook="{{ forget_changed_series(current=ref('int_series')) }}",
    )
}}

with changed as (

    {{ changed_series(ref('int_crypto_hourly')) }}

),

bars as (

    select
        changed.first_opened_at,
        changed.unchanged_through,
        bars.*
    {% if is_incremental() -%}
    from changed
    cross join lateral (
        select * from {{ ref('int_crypto_hourly') }} as hourly
        where
            hourly.crypto_id = changed.crypto_id
            and hourly.opened_at > changed.unchanged_through - {{ hours(var('hourly_warm_up')) }}
        offset 0
    ) as bars
    {%- else -%}
    from {{ ref('int_crypto_hourly') }} as bars
    inner join changed on bars.crypto_id = changed.crypto_id
    {%- endif %}

),

windowed as (

    select
        *,
        first_value(close) over (series {{ hours_earlier(24) }}) as close_24h_earlier,
        first_value(close) over (series {{ hours_earlier(168) }}) as close_7d_earlier,
        sum(quote_volume) over today as quote_volume_today,
        sum(volume) over today as volume_today,
        sum(quote_volume) over last_24h as quote_volume_24h,
        sum(volume) over last_24h as volume_24h,
        stddev_samp(log_return) over last_24h as stddev_24h,
        avg(close) over last_7d as mean_close_7d,
        stddev_samp(log_return) over last_7d as stddev_7d,
        avg(close) over last_30d as mean_close_30d,
        stddev_samp(log_return) over last_30d as stddev_30d,
        -- a bar's close is known an hour after it opened; the first return needs one bar more than the first close
        opened_at - first_opened_at + {{ hours(1) }} as age_of_closes,
        opened_at - first_opened_at as age_of_returns
    from bars
    window
        series as (partition by crypto_id order by opened_at),
        today as (partition by crypto_id, {{ utc_date('opened_at') }} order by opened_at),
        last_24h as (series {{ trailing_hours(24) }}),
        last_7d as (series {{ trailing_hours(168) }}),
        last_30d as (series {{ trailing_hours(720) }})

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
    (quote_volume / nullif(volume, 0))::double precision as vwap_1h,
    (quote_volume_today / nullif(volume_today, 0))::double precision as vwap_session,
    (
        case when age_of_closes >= {{ hours(24) }} then quote_volume_24h / nullif(volume_24h, 0) end
    )::double precision as vwap_24h,
    (100 * (close - close_1h_earlier) / close_1h_earlier)::double precision as return_1h_pct,
    log_return::double precision as log_return_1h,
    (100 * (close - close_24h_earlier) / close_24h_earlier)::double precision as change_24h_pct,
    (100 * (close - close_7d_earlier) / close_7d_earlier)::double precision as change_7d_pct,
    (case when age_of_closes >= {{ hours(168) }} then mean_close_7d end)::double precision as ma_7d,
    (case when age_of_closes >= {{ hours(720) }} then mean_close_30d end)::double precision as ma_30d,
    {{ annualised('case when age_of_returns >= ' ~ hours(24) ~ ' then stddev_24h end', 24 * 365) }} as volatility_24h,
    {{ annualised('case when age_of_returns >= ' ~ hours(168) ~ ' then stddev_7d end', 24 * 365) }} as volatility_7d,
    {{ annualised('case when age_of_returns >= ' ~ hours(720) ~ ' then stddev_30d end', 24 * 365) }} as volatility_30d,
    binance_symbol,
    loaded_at,
    series_version
from windowed
where opened_at > unchanged_through
