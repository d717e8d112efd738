{{
    config(
        materialized='incremental',
        incremental_strategy='delete+insert',
        unique_key=['inst_id', 'minute'],
        full_refresh=false,
        on_schema_change='append_new_columns',
        indexes=[{'columns': ['minute']}],
        pre_hook="{{ update_live_assets() }}",
        post_hook="{{ analyze_after_full_build() }}",
    )
}}

with changed as (

    select distinct
        inst_id,
        {{ utc_span(1, 'traded_at') }} as minute
    from {{ ref('stg_okx__trades') }}
    where loaded_at > {{ live_loads_since() }}
    union
    select distinct
        inst_id,
        {{ utc_span(1, 'quoted_at') }} as minute
    from {{ ref('stg_okx__tickers') }}
    where loaded_at > {{ live_loads_since() }}

),

minutes_to_read as (

    select distinct minute from changed

),

-- by minute, because the index on time has all instruments
trades as (

    select
        rows_of_minute.inst_id,
        minutes_to_read.minute,
        {{ first_by('rows_of_minute.price', 'rows_of_minute.traded_at, rows_of_minute.trade_id') }} as open,
        max(rows_of_minute.price) as high,
        min(rows_of_minute.price) as low,
        {{ last_by('rows_of_minute.price', 'rows_of_minute.traded_at desc, rows_of_minute.trade_id') }} as last,
        sum(rows_of_minute.volume) as volume,
        sum(rows_of_minute.price * rows_of_minute.volume) as quote_volume,
        sum(rows_of_minute.volume) filter (where rows_of_minute.taker_side = 'buy') as taker_buy_volume,
        sum(rows_of_minute.trade_count)::bigint as trade_count,
        count(*) as message_count,
        max(rows_of_minute.loaded_at) as loaded_at
    from minutes_to_read
    cross join lateral (
        select * from {{ ref('stg_okx__trades') }}
        where
            traded_at >= minutes_to_read.minute
            and traded_at < minutes_to_read.minute + {{ minutes(1) }}
        offset 0
    ) as rows_of_minute
    group by rows_of_minute.inst_id, minutes_to_read.minute

),

tickers as (

    select
        rows_of_minute.inst_id,
        minutes_to_read.minute,
        avg(rows_of_minute.spread_bps)::double precision as spread_bps,
        {{ last_by('rows_of_minute.change_24h_pct', 'rows_of_minute.quoted_at') }} as change_24h_pct,
        count(*) as message_count,
        max(rows_of_minute.loaded_at) as loaded_at
    from minutes_to_read
    cross join lateral (
        select * from {{ ref('stg_okx__tickers') }}
        where
            quoted_at >= minutes_to_read.minute
            and quoted_at < minutes_to_read.minute + {{ minutes(1) }}
        offset 0
    ) as rows_of_minute
    group by rows_of_minute.inst_id, minutes_to_read.minute

)

select
    changed.inst_id,
    changed.minute,
    instruments.crypto_id,
    trades.open,
    trades.high,
    trades.low,
    trades.last,
    {{ vwap('trades.quote_volume', 'trades.volume') }} as vwap,
    coalesce(trades.volume, 0) as volume,
    coalesce(trades.quote_volume, 0) as quote_volume,
    coalesce(trades.taker_buy_volume, 0) as taker_buy_volume,
    coalesce(trades.trade_count, 0) as trade_count,
    tickers.spread_bps,
    tickers.change_24h_pct,
    coalesce(tickers.message_count, 0) as ticker_count,
    coalesce(trades.message_count, 0) + coalesce(tickers.message_count, 0) as message_count,
    greatest(trades.loaded_at, tickers.loaded_at) as loaded_at
from changed
left join trades on changed.inst_id = trades.inst_id and changed.minute = trades.minute
left join tickers on changed.inst_id = tickers.inst_id and changed.minute = tickers.minute
left join {{ ref('int_live_instruments') }} as instruments on changed.inst_id = instruments.inst_id
