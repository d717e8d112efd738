with source as (

    select * from {{ source('ops', 'runs') }}

)

select
    run_id,
    job,
    started_at,
    ended_at,
    status,
    summary ->> 'error' as error,
    summary
from source
