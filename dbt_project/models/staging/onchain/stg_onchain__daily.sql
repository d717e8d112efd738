-- The two partitions of raw.onchain_daily: each is a dataset, whose loads decide what is built.

with source as (

    select * from {{ source('raw', 'onchain_daily_coinmetrics') }}
    union all
    select * from {{ source('raw', 'onchain_daily_blockchain') }}

)

select
    source,
    'bitcoin' as crypto_id,
    metric,
    date,
    value,
    loaded_at,
    batch_id,
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
        when not coalesce(value = 0 or value between 1e-38 and 1e38, false) then 'impossible value'
        when not coalesce(date < {{ utc_date('current_timestamp') }}, false) then 'the day is not over'
    end as invalid_reason
from source
where asset = 'btc'
