with source as (

    select * from {{ source('ops', 'stream_minutes') }}

)

select
    stream,
    minute,
    messages,
    trades,
    tickers,
    duplicates,
    rejected,
    delay_p50_s,
    delay_p95_s
from source
