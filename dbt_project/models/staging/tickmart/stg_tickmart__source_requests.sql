with source as (

    select * from {{ source('ops', 'source_requests') }}

)

select
    request_id,
    source,
    endpoint,
    host,
    requested_at,
    http_status,
    error,
    latency_ms,
    bytes as byte_count,
    attempt,
    weight,
    run_id
from source
