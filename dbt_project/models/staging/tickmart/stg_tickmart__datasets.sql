with source as (

    select * from {{ source('ops', 'datasets') }}

)

select
    dataset,
    source,
    sla_seconds,
    degraded_after_seconds,
    optional,
    declared_at
from source
