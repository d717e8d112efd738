with source as (

    select * from {{ source('ops', 'run_stages') }}

)

select
    run_id,
    stage,
    dataset,
    status,
    rows as row_count,
    files as file_count,
    seconds,
    (detail ->> 'inserted')::bigint as inserted_count,
    (detail ->> 'updated')::bigint as updated_count,
    detail,
    ended_at
from source
