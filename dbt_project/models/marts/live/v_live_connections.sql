{{ config(materialized='view') }}

select
    connection_id,
    stream,
    connected_at,
    ended_at,
    reason
from {{ ref('stg_okx__stream_connections') }}
