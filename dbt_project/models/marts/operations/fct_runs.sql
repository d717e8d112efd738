-- A view: a run shows as soon as it starts. It covers 31 days, so that it stays fast.
{{ config(materialized='view') }}

with runs as (

    select * from {{ ref('stg_tickmart__runs') }}
    where started_at >= current_timestamp - {{ hours(744) }}

),

stages as (

    select
        run_id,
        sum(row_count) filter (where stage = 'bronze') as fetched_rows,
        sum(inserted_count + updated_count) filter (where stage = 'raw') as changed_rows
    from {{ ref('stg_tickmart__run_stages') }}
    where ended_at >= current_timestamp - {{ hours(744) }}
    group by run_id

)

select
    runs.run_id,
    runs.job,
    runs.started_at,
    runs.ended_at,
    extract(epoch from runs.ended_at - runs.started_at)::double precision as seconds,
    runs.status,
    coalesce(stages.fetched_rows, 0)::bigint as fetched_rows,
    coalesce(stages.changed_rows, 0)::bigint as changed_rows,
    runs.error
from runs
left join stages on runs.run_id = stages.run_id
