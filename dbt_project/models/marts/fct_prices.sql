{{
    config(
        materialized='incremental',
        unique_key=['crypto_id', 'opened_at'],
        on_schema_change='fail',
        pre_hook="{{ forget_changed_series(current=ref('int_series')) }}",
        post_hook="{{ analyze_once() }}",
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

split as (

    -- what the windows read comes first: Postgres takes rows apart from the left, and each window takes each row apart
    select
        {{ whole('close') }} as close_whole,
        {{ fraction('close') }} as close_fraction,
        {{ whole('volume') }} as volume_whole,
        {{ fraction('volume') }} as volume_fraction,
        {{ whole('quote_volume') }} as quote_whole,
        {{ fraction('quote_volume') }} as quote_fraction,
        {{ return_units('log_return') }} as return_units,
        {{ product_parts(return_units('log_return'), return_units('log_return'), 'return_units_return_units') }},
        bars.*
    from bars
    -- computed once and in order: without this Postgres repeats the expressions in every window that uses them
    order by crypto_id, opened_at
    offset 0

),

windowed as (

    select
        *,
        {% for hours_back in [1, 24, 168] -%}
        lag(opened_at, {{ hours_back }}) over last_24h as row_{{ hours_back }}_back_at,
        lag(close_whole, {{ hours_back }}) over last_24h as row_{{ hours_back }}_back_whole,
        lag(close_fraction, {{ hours_back }}) over last_24h as row_{{ hours_back }}_back_fraction,
        {% endfor -%}
        {{ exact_sum('quote_whole') }} over last_24h as quote_24h_whole,
        {{ exact_sum('quote_fraction') }} over last_24h as quote_24h_fraction,
        {{ exact_sum('volume_whole') }} over last_24h as volume_24h_whole,
        {{ exact_sum('volume_fraction') }} over last_24h as volume_24h_fraction,
        {{ return_sums('return_units', 'last_24h') }},
        count(*) over last_7d as bars_7d,
        {{ exact_sum('close_whole') }} over last_7d as close_sum_7d_whole,
        {{ exact_sum('close_fraction') }} over last_7d as close_sum_7d_fraction,
        {{ return_sums('return_units', 'last_7d') }},
        count(*) over last_30d as bars_30d,
        {{ exact_sum('close_whole') }} over last_30d as close_sum_30d_whole,
        {{ exact_sum('close_fraction') }} over last_30d as close_sum_30d_fraction,
        {{ return_sums('return_units', 'last_30d') }}
    from split
    window
        series as (partition by crypto_id order by opened_at),
        last_24h as (series {{ trailing_hours(24) }}),
        last_7d as (series {{ trailing_hours(168) }}),
        last_30d as (series {{ trailing_hours(720) }})

),

sessions as (

    select
        *,
        -- the bar of exactly so many hours before: nearly always as many rows back, else looked up
        {% for hours_back, name in [(1, '1h'), (24, '24h'), (168, '7d')] -%}
        {% for part in ['whole', 'fraction'] -%}
        case
            when row_{{ hours_back }}_back_at = opened_at - {{ hours(hours_back) }}
                then row_{{ hours_back }}_back_{{ part }}
            {% if hours_back > 1 -%}
            else (
                select {{ whole('earlier.close') if part == 'whole' else fraction('earlier.close') }}
                from {{ ref('int_crypto_hourly') }} as earlier
                where
                    earlier.crypto_id = windowed.crypto_id
                    and earlier.opened_at = windowed.opened_at - {{ hours(hours_back) }}
            )
            {%- endif %}
        end as close_{{ name }}_earlier_{{ part }},
        {% endfor -%}
        {% endfor -%}
        {{ exact_sum('quote_whole') }} over today as quote_today_whole,
        {{ exact_sum('quote_fraction') }} over today as quote_today_fraction,
        {{ exact_sum('volume_whole') }} over today as volume_today_whole,
        {{ exact_sum('volume_fraction') }} over today as volume_today_fraction,
        -- a bar's close is known an hour after it opened; the first return needs one bar more than the first close
        opened_at - first_opened_at + {{ hours(1) }} as age_of_closes,
        opened_at - first_opened_at as age_of_returns
    from windowed
    window today as (partition by crypto_id, {{ utc_date('opened_at') }} order by opened_at)

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
    {{ amount('quote_whole', 'quote_fraction') }}
    / nullif({{ amount('volume_whole', 'volume_fraction') }}, 0) as vwap_1h,
    {{ amount('quote_today_whole', 'quote_today_fraction') }}
    / nullif({{ amount('volume_today_whole', 'volume_today_fraction') }}, 0) as vwap_session,
    case
        when age_of_closes >= {{ hours(24) }}
            then {{ amount('quote_24h_whole', 'quote_24h_fraction') }}
                / nullif({{ amount('volume_24h_whole', 'volume_24h_fraction') }}, 0)
    end as vwap_24h,
    {{ change_of_amount_pct('close', 'close_1h_earlier') }} as return_1h_pct,
    log_return as log_return_1h,
    {{ change_of_amount_pct('close', 'close_24h_earlier') }} as change_24h_pct,
    {{ change_of_amount_pct('close', 'close_7d_earlier') }} as change_7d_pct,
    case
        when age_of_closes >= {{ hours(168) }}
            then {{ amount('close_sum_7d_whole', 'close_sum_7d_fraction') }} / bars_7d
    end as ma_7d,
    case
        when age_of_closes >= {{ hours(720) }}
            then {{ amount('close_sum_30d_whole', 'close_sum_30d_fraction') }} / bars_30d
    end as ma_30d,
    case
        when age_of_returns >= {{ hours(24) }} then {{ annualised(variance_of('return_units', 'last_24h'), 24 * 365) }}
    end as volatility_24h,
    case
        when age_of_returns >= {{ hours(168) }} then {{ annualised(variance_of('return_units', 'last_7d'), 24 * 365) }}
    end as volatility_7d,
    case
        when age_of_returns >= {{ hours(720) }} then {{ annualised(variance_of('return_units', 'last_30d'), 24 * 365) }}
    end as volatility_30d,
    binance_symbol,
    loaded_at,
    series_version
from sessions
where opened_at > unchanged_through
