with source as (

    select * from {{ source('ops', 'rejected_records') }}

)

select
    rejected_id,
    dataset,
    object_key,
    record ->> 'symbol' as binance_symbol,
    record ->> 'interval' as bar_interval,
    reason,
    batch_id,
    rejected_at,
    replayed_at
from source
