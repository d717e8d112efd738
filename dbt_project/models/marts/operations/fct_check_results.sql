-- A view: results show without a build. It covers seven days, so that it stays fast.
{{ config(materialized='view') }}

with results as (

    select * from {{ ref('stg_tickmart__check_results') }}
    where checked_at >= current_timestamp - {{ hours(168) }}

),

-- an asset built from several datasets belongs to none of them alone
asset_datasets as (

    select
        asset,
        case when count(*) = 1 then min(dataset) end as dataset
    from {{ ref('stg_tickmart__dataset_assets') }}
    group by asset

)

select
    results.check_id,
    results.run_id,
    asset_datasets.dataset,
    results.asset,
    results.check_name,
    results.source,
    results.severity,
    results.status,
    results.is_blocking,
    results.observed,
    results.expected,
    results.failed_rows,
    results.sample,
    results.checked_at,
    row_number() over (
        partition by results.asset, results.check_name order by results.checked_at desc, results.check_id desc
    ) = 1 as is_latest,
    results.description
from results
left join asset_datasets on results.asset = asset_datasets.asset
