with source as (

    select * from {{ source('ops', 'alerts') }}

)

select
    alert_id,
    incident_id,
    channel,
    event,
    created_at,
    sent_at,
    refused_at,
    last_error,
    sent_at is null and refused_at is null as is_waiting
from source
