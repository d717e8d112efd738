-- The hourly windows of fct_prices in the obvious way, on double precision: the peer that `make bench` measures.
select
    crypto_id, opened_at, open, high, low, close, volume, quote_volume, trade_count, taker_buy_volume,
    q / nullif(v, 0) as vwap_1h,
    sum(q) over today / nullif(sum(v) over today, 0) as vwap_session,
    case when age >= interval '23 hours' then sum(q) over d1 / nullif(sum(v) over d1, 0) end as vwap_24h,
    100 * (c / c_1h - 1) as return_1h_pct,
    r as log_return_1h,
    100 * (c / first_value(c) over (
        s range between interval '24 hours' preceding and interval '24 hours' preceding
    ) - 1) as change_24h_pct,
    100 * (c / first_value(c) over (
        s range between interval '168 hours' preceding and interval '168 hours' preceding
    ) - 1) as change_7d_pct,
    case when age >= interval '167 hours' then avg(c) over d7 end as ma_7d,
    case when age >= interval '719 hours' then avg(c) over d30 end as ma_30d,
    case when age >= interval '24 hours' then stddev_samp(r) over d1 * sqrt(8760) end as volatility_24h,
    case when age >= interval '168 hours' then stddev_samp(r) over d7 * sqrt(8760) end as volatility_7d,
    case when age >= interval '720 hours' then stddev_samp(r) over d30 * sqrt(8760) end as volatility_30d,
    binance_symbol, loaded_at, series_version
from (
    select
        bars.*, close::double precision as c, close_1h_earlier::double precision as c_1h, volume::double precision as v,
        quote_volume::double precision as q, log_return as r, opened_at - first_opened_at as age
    from intermediate.int_crypto_hourly as bars
    inner join (select crypto_id, first_opened_at from intermediate.int_asset_watermarks) as series using (crypto_id)
    offset 0
) as bars
window
    s as (partition by crypto_id order by opened_at),
    today as (partition by crypto_id, (opened_at at time zone 'UTC')::date order by opened_at),
    d1 as (s range between interval '23:59:59.999999' preceding and current row),
    d7 as (s range between interval '167:59:59.999999' preceding and current row),
    d30 as (s range between interval '719:59:59.999999' preceding and current row)
