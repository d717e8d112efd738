-- No CTE: Postgres cannot use the order of an index for the newest row through a view that has one.
select
    inst_id,
    ts as quoted_at,
    last,
    last_size,
    bid,
    bid_size,
    ask,
    ask_size,
    open_24h,
    high_24h,
    low_24h,
    volume_24h,
    quote_volume_24h,
    {{ spread_bps('bid', 'ask') }} as spread_bps,
    {{ change_pct('last', 'open_24h') }} as change_24h_pct,
    received_at,
    loaded_at
from {{ source('raw', 'okx_tickers') }}
