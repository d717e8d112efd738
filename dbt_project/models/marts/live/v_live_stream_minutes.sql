{{ config(materialized='view') }}

select
    stream,
    minute,
    messages as message_count,
    trades as trade_messages,
    tickers as ticker_count,
    duplicates as duplicate_count,
    rejected as rejected_count,
    delay_p50_s,
    delay_p95_s
from {{ ref('stg_okx__stream_minutes') }}
