with daily as (

    select * from {{ ref('int_crypto_daily') }}

),

risk as (

    select * from {{ ref('int_volatility_calc') }}

),

numbered as (

    select
        daily.*,
        daily.close::double precision as close_float,
        risk.simple_return,
        risk.log_return,
        risk.volatility_7d,
        risk.volatility_30d,
        risk.volatility_90d,
        risk.sharpe_90d,
        risk.beta_btc_90d,
        row_number() over series as day_number,
        lag(daily.close) over series as close_before,
        max(daily.close) over series as highest_close
    from daily
    inner join risk
        on daily.crypto_id = risk.crypto_id
        and daily.date = risk.date
    window series as (partition by daily.crypto_id order by daily.date)

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
        stddev_pop(close) over (series rows between 19 preceding and current row) as stddev_20,
        avg(close) over (series rows between 29 preceding and current row) as mean_30,
        avg(close) over (series rows between 199 preceding and current row) as mean_200,
        {{ ema('close_float', 12) }} over series as ema_12,
        {{ ema('close_float', 26) }} over series as ema_26,
        {{ wilder('gain', 14) }} over series as average_gain_14,
        {{ wilder('loss', 14) }} over series as average_loss_14,
        {{ wilder('true_range', 14) }} over series as atr_14
    from moves
    window series as (partition by crypto_id order by date)

),

signalled as (

    select
        *,
        ema_12 - ema_26 as macd,
        {{ ema('ema_12 - ema_26', 9) }} over (partition by crypto_id order by date) as macd_signal
    from windowed

)

select
    crypto_id,
    date,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    (quote_volume / nullif(volume, 0))::double precision as vwap,
    (100 * simple_return)::double precision as return_pct,
    log_return::double precision as log_return,
    (case when day_number >= 7 then mean_7 end)::double precision as sma_7,
    (case when day_number >= 30 then mean_30 end)::double precision as sma_30,
    (case when day_number >= 200 then mean_200 end)::double precision as sma_200,
    ema_12,
    ema_26,
    (case when day_number >= 20 then mean_20 end)::double precision as sma_20,
    (case when day_number >= 20 then mean_20 + 2 * stddev_20 end)::double precision as bb_upper_20,
    (case when day_number >= 20 then mean_20 - 2 * stddev_20 end)::double precision as bb_lower_20,
    100 * average_gain_14 / nullif(average_gain_14 + average_loss_14, 0) as rsi_14,
    macd,
    macd_signal,
    macd - macd_signal as macd_histogram,
    atr_14,
    volatility_7d,
    volatility_30d,
    volatility_90d,
    (100 * (close - highest_close) / highest_close)::double precision as drawdown_pct,
    beta_btc_90d,
    sharpe_90d,
    bar_count,
    loaded_at
from signalled
