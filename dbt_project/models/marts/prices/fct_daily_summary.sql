-- depends_on: {{ ref('int_asset_watermarks') }}
{%- set first_day = first_changed_day() -%}
{#- The recursive averages resume from a written row. The days between it and the first changed day fill the longest
    window (200 days). It is not among the first days of an asset, when some averages have no value yet (MACD's signal: day 34). -#}
{%- set days_to_read_before = 240 -%}
{%- set days_without_averages = 40 -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_stale_days() }}",
        indexes=[{'columns': ['date']}],
    )
}}

with
{% if is_incremental() -%}
-- the row of each asset from which the recursive averages resume; an asset without one starts at its first bar
resumed as (

    select resume_row.*
    from {{ ref('int_asset_watermarks') }} as series
    cross join lateral (
        select
            crypto_id,
            date,
            day_number,
            highest_close,
            ema_12,
            ema_26,
            macd_signal,
            average_gain_14,
            average_loss_14,
            atr_14
        from {{ this }} as written
        where
            written.crypto_id = series.crypto_id
            and written.date < '{{ first_day }}'::date
        order by date desc
        limit 1 offset {{ days_to_read_before }}
    ) as resume_row
    where resume_row.day_number > {{ days_without_averages }}

),
{% else -%}
resumed as (

    select
        null::text as crypto_id,
        null::date as date,
        null::bigint as day_number,
        null::numeric as highest_close,
        null::double precision as ema_12,
        null::double precision as ema_26,
        null::double precision as macd_signal,
        null::double precision as average_gain_14,
        null::double precision as average_loss_14,
        null::double precision as atr_14
    where false

),
{% endif %}
daily as (

    select
        bars.*,
        bars.close::double precision as close_float,
        resumed.day_number as resumed_day_number,
        resumed.highest_close as resumed_highest_close,
        resumed.ema_12 as resumed_ema_12,
        resumed.ema_26 as resumed_ema_26,
        resumed.macd_signal as resumed_macd_signal,
        resumed.average_gain_14 as resumed_gain_14,
        resumed.average_loss_14 as resumed_loss_14,
        resumed.atr_14 as resumed_atr_14
    from {{ ref('int_crypto_daily') }} as bars
    left join resumed as start_row on bars.crypto_id = start_row.crypto_id
    left join resumed
        on bars.crypto_id = resumed.crypto_id
        and bars.date = resumed.date
    where
        '{{ first_day }}'::date < 'infinity'::date
        and bars.close is not null
        and bars.date >= coalesce(start_row.date, '-infinity'::date)

),

numbered as (

    select
        *,
        row_number() over series - 1 + coalesce(first_value(resumed_day_number) over series, 1) as day_number,
        greatest(max(close) over series, first_value(resumed_highest_close) over series) as highest_close,
        lag(close) over series as close_before
    from daily
    window series as (partition by crypto_id order by date)

),

-- comparisons with null must stay null: greatest(null, 0) would be 0 in Postgres
moves as (

    select
        *,
        case when close_before is not null then greatest(close - close_before, 0)::double precision end as gain,
        case when close_before is not null then greatest(close_before - close, 0)::double precision end as loss,
        case
            when close_before is not null
                then greatest(high - low, abs(high - close_before), abs(low - close_before))::double precision
        end as true_range
    from numbered

),

windowed as (

    select
        *,
        avg(close) over (series rows between 6 preceding and current row) as mean_7,
        avg(close) over (series rows between 19 preceding and current row) as mean_20,
        var_pop(close) over (series rows between 19 preceding and current row) as variance_20,
        avg(close) over (series rows between 29 preceding and current row) as mean_30,
        avg(close) over (series rows between 199 preceding and current row) as mean_200,
        {{ ema('close_float', 12, 'resumed_ema_12', 'series') }} as ema_12,
        {{ ema('close_float', 26, 'resumed_ema_26', 'series') }} as ema_26,
        {{ wilder('gain', 14, 'resumed_gain_14', 'series') }} as average_gain_14,
        {{ wilder('loss', 14, 'resumed_loss_14', 'series') }} as average_loss_14,
        {{ wilder('true_range', 14, 'resumed_atr_14', 'series') }} as atr_14
    from moves
    window series as (partition by crypto_id order by date)

),

with_signal as (

    select
        *,
        ema_12 - ema_26 as macd,
        {{ ema('ema_12 - ema_26', 9, 'resumed_macd_signal', 'series') }} as macd_signal
    from windowed
    window series as (partition by crypto_id order by date)

)

select
    with_signal.crypto_id,
    with_signal.date,
    with_signal.open,
    with_signal.high,
    with_signal.low,
    with_signal.close,
    with_signal.volume,
    with_signal.quote_volume,
    with_signal.trade_count,
    {{ vwap('with_signal.quote_volume', 'with_signal.volume') }} as vwap,
    (100 * risk.simple_return)::double precision as return_pct,
    risk.log_return::double precision as log_return,
    case when with_signal.day_number >= 7 then with_signal.mean_7::double precision end as sma_7,
    case when with_signal.day_number >= 20 then with_signal.mean_20::double precision end as sma_20,
    case when with_signal.day_number >= 30 then with_signal.mean_30::double precision end as sma_30,
    case when with_signal.day_number >= 200 then with_signal.mean_200::double precision end as sma_200,
    with_signal.ema_12,
    with_signal.ema_26,
    case
        when with_signal.day_number >= 20
            then with_signal.mean_20::double precision + 2 * sqrt(with_signal.variance_20::double precision)
    end as bb_upper_20,
    case
        when with_signal.day_number >= 20
            then with_signal.mean_20::double precision - 2 * sqrt(with_signal.variance_20::double precision)
    end as bb_lower_20,
    -- the quotient first: it is exactly 1 without a loss, and 100 times the gain, divided, can round above 100
    100 * (
        with_signal.average_gain_14 / nullif(with_signal.average_gain_14 + with_signal.average_loss_14, 0)
    ) as rsi_14,
    with_signal.macd,
    with_signal.macd_signal,
    with_signal.macd - with_signal.macd_signal as macd_histogram,
    with_signal.atr_14,
    risk.volatility_7d,
    risk.volatility_30d,
    risk.volatility_90d,
    {{ change_pct('with_signal.close', 'with_signal.highest_close') }} as drawdown_pct,
    risk.beta_btc_90d,
    risk.sharpe_90d,
    with_signal.bar_count,
    with_signal.day_number::integer as day_number,
    with_signal.highest_close,
    with_signal.average_gain_14,
    with_signal.average_loss_14,
    days.loaded_at as known_at,
    days.loaded_at,
    days.universe_version
from with_signal
inner join {{ ref('int_volatility_calc') }} as risk
    on with_signal.crypto_id = risk.crypto_id
    and with_signal.date = risk.date
inner join {{ ref('int_day_watermarks') }} as days on with_signal.date = days.date
where with_signal.date >= '{{ first_day }}'::date
