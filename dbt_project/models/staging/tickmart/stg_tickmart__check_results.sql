with source as (

    select * from {{ source('ops', 'check_results') }}

)

select
    check_id,
    run_id,
    asset,
    check_name,
    source,
    severity,
    status,
    blocking as is_blocking,
    observed,
    expected,
    failed_rows,
    sample,
    checked_at,
    description
from source
