with source as (

    select * from {{ source('ops', 'gaps') }}

)

select
    symbol as binance_symbol,
    interval as bar_interval,
    gap_start as started_at,
    gap_end as ended_at,
    bars as missing_bars,
    kind,
    found_at
from source
