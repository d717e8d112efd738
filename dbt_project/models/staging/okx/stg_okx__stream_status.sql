with source as (

    select * from {{ source('ops', 'stream_status') }}

)

select
    stream,
    received_at,
    sink_at,
    broker_bytes,
    broker_max_bytes,
    pending_messages,
    missing_assets,
    problem
from source
