{{ config(materialized='view') }}

select
    stream,
    received_at,
    sink_at as committed_at,
    extract(epoch from current_timestamp - sink_at)::double precision as committed_age_s,
    broker_bytes,
    broker_max_bytes,
    pending_messages,
    array_to_string(missing_assets, ', ') as missing_assets,
    problem
from {{ ref('stg_okx__stream_status') }}
