with source as (

    select * from {{ source('ops', 'incidents') }}

)

select
    incident_id,
    kind,
    severity,
    title,
    detail,
    run_id,
    opened_at,
    recovered_at,
    reopened as reopened_count
from source
