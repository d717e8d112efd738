-- No CTE: Postgres cannot use the order of an index for the newest row through a view that has one.
select
    inst_id,
    trade_id,
    ts as traded_at,
    price,
    size as volume,
    side as taker_side,
    coalesce(fills, 1) as trade_count,
    received_at,
    loaded_at
from {{ source('raw', 'okx_trades') }}
