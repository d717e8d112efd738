with source as (

    select * from {{ source('ops', 'stream_connections') }}

)

select
    connection_id,
    stream,
    connected_at,
    ended_at,
    reason
from source
