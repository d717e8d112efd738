-- A view: what a check said a minute ago is there without a build. Seven days back, so that it stays quick.
{{ config(materialized='view') }}

with results as (

    select * from {{ ref('stg_tickmart__check_results') }}
    where checked_at >= current_timestamp - {{ hours(168) }}

)

select
    check_id,
    run_id,
    {{ dataset_of('asset') }} as dataset,
    asset,
    check_name,
    source,
    severity,
    status,
    is_blocking,
    observed,
    expected,
    failed_rows,
    sample,
    checked_at,
    row_number() over (partition by asset, check_name order by checked_at desc, check_id desc) = 1 as is_latest
from results
