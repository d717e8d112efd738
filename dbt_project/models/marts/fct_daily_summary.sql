-- depends_on: {{ ref('int_series') }}
{%- set first_day = first_changed_day() -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ forget_changed_days() }}",
        indexes=[{'columns': ['date']}],
    )
}}

with
{% if is_incremental() -%}
-- The recursive averages go on from a row that stays: 240 days before the first to be written, so that sma_200 has its
-- rows, and not among an asset's first 40, where some average has no value yet. Without such a row, from the first bar.
resumed as (

    select kept.*
    from {{ ref('int_series') }} as series
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
        limit 1 offset 240
    ) as kept
    where kept.day_number > 40

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
    left join resumed as reading on bars.crypto_id = reading.crypto_id
    left join resumed
        on bars.crypto_id = resumed.crypto_id
        and bars.date = resumed.date
    where
        '{{ first_day }}'::date < 'infinity'::date
        and bars.close is not null
        and bars.date >= coalesce(reading.date, '-infinity'::date)

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
        {{ ema('close_float', 12, 'resumed_ema_12') }} over series as ema_12,
        {{ ema('close_float', 26, 'resumed_ema_26') }} over series as ema_26,
        {{ wilder('gain', 14, 'resumed_gain_14') }} over series as average_gain_14,
        {{ wilder('loss', 14, 'resumed_loss_14') }} over series as average_loss_14,
        {{ wilder('true_range', 14, 'resumed_atr_14') }} over series as atr_14
    from moves
    window series as (partition by crypto_id order by date)

),

signalled as (

    select
        *,
        ema_12 - ema_26 as macd,
        {{ ema('ema_12 - ema_26', 9, 'resumed_macd_signal') }} over series as macd_signal
    from windowed
    window series as (partition by crypto_id order by date)

)

select
    signalled.crypto_id,
    signalled.date,
    signalled.open,
    signalled.high,
    signalled.low,
    signalled.close,
    signalled.volume,
    signalled.quote_volume,
    signalled.trade_count,
    {{ vwap('signalled.quote_volume', 'signalled.volume') }} as vwap,
    (100 * risk.simple_return)::double precision as return_pct,
    risk.log_return::double precision as log_return,
    case when signalled.day_number >= 7 then signalled.mean_7::double precision end as sma_7,
    case when signalled.day_number >= 20 then signalled.mean_20::double precision end as sma_20,
    case when signalled.day_number >= 30 then signalled.mean_30::double precision end as sma_30,
    case when signalled.day_number >= 200 then signalled.mean_200::double precision end as sma_200,
    signalled.ema_12,
    signalled.ema_26,
    case
        when signalled.day_number >= 20
            then signalled.mean_20::double precision + 2 * sqrt(signalled.variance_20::double precision)
    end as bb_upper_20,
    case
        when signalled.day_number >= 20
            then signalled.mean_20::double precision - 2 * sqrt(signalled.variance_20::double precision)
    end as bb_lower_20,
    -- the share first: it is 1 exactly without a loss, whereas 100 times it, divided, can round above 100
    100 * (
        signalled.average_gain_14 / nullif(signalled.average_gain_14 + signalled.average_loss_14, 0)
    ) as rsi_14,
    signalled.macd,
    signalled.macd_signal,
    signalled.macd - signalled.macd_signal as macd_histogram,
    signalled.atr_14,
    risk.volatility_7d,
    risk.volatility_30d,
    risk.volatility_90d,
    {{ change_pct('signalled.close', 'signalled.highest_close') }} as drawdown_pct,
    risk.beta_btc_90d,
    risk.sharpe_90d,
    signalled.bar_count,
    signalled.day_number::integer as day_number,
    signalled.highest_close,
    signalled.average_gain_14,
    signalled.average_loss_14,
    days.loaded_at,
    days.universe_version
from signalled
inner join {{ ref('int_volatility_calc') }} as risk
    on signalled.crypto_id = risk.crypto_id
    and signalled.date = risk.date
inner join {{ ref('int_market_days') }} as days on signalled.date = days.date
where signalled.date >= '{{ first_day }}'::date
