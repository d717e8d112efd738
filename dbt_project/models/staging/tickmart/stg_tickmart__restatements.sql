with source as (

    select * from {{ source('ops', 'restatements') }}

)

select
    restatement_id,
    dataset,
    record_key ->> 'symbol' as binance_symbol,
    record_key ->> 'interval' as bar_interval,
    batch_id,
    restated_at
from source
