{{ config(materialized='view') }}

select
    gap_id,
    inst_id,
    after_trade_id,
    before_trade_id,
    opened_at,
    closed_at,
    reason,
    filled_trades,
    is_filled
from {{ ref('stg_okx__stream_gaps') }}
