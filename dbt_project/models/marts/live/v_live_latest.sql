{{ config(materialized='view') }}

with instruments as (

    select * from {{ ref('int_live_instruments') }}

)

-- the primary keys of raw lead to the newest row of each instrument
select
    instruments.inst_id,
    instruments.crypto_id,
    instruments.name,
    tickers.quoted_at as ts,
    tickers.last,
    tickers.bid,
    tickers.ask,
    tickers.spread_bps::double precision as spread_bps,
    tickers.change_24h_pct,
    tickers.high_24h,
    tickers.low_24h,
    tickers.quote_volume_24h,
    extract(epoch from current_timestamp - tickers.quoted_at)::double precision as age_s,
    trades.traded_at as last_trade_at,
    trades.price as last_trade_price,
    trades.volume as last_trade_volume,
    trades.taker_side as last_trade_side
from instruments
cross join lateral (
    select * from {{ ref('stg_okx__tickers') }} as newest
    where newest.inst_id = instruments.inst_id
    order by newest.quoted_at desc
    limit 1
) as tickers
left join lateral (
    select * from {{ ref('stg_okx__trades') }} as newest
    where newest.inst_id = instruments.inst_id
    order by newest.trade_id desc
    limit 1
) as trades on true
