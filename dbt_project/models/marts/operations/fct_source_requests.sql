-- A view: requests show without a build. It covers seven days, so that it stays fast.
{{ config(materialized='view') }}

with requests as (

    select
        *,
        {{ utc_hour('requested_at') }} as hour_started_at
    from {{ ref('stg_tickmart__source_requests') }}
    where requested_at >= {{ utc_hour('current_timestamp') }} - {{ hours(167) }}

)

select
    source,
    hour_started_at,
    count(*)::integer as requests,
    count(*) filter (
        where http_status between 400 and 499 and http_status <> 429 and error is not null
    )::integer as errors_4xx,
    count(*) filter (where http_status = 429)::integer as errors_429,
    count(*) filter (where http_status >= 500)::integer as errors_5xx,
    count(*) filter (where http_status is null)::integer as unanswered,
    count(*) filter (where attempt > 1)::integer as retries,
    sum(weight)::bigint as weight,
    sum(byte_count)::bigint as bytes,
    percentile_cont(0.5) within group (order by latency_ms) filter (where http_status is not null) as latency_p50_ms,
    percentile_cont(0.95) within group (order by latency_ms) filter (where http_status is not null) as latency_p95_ms
from requests
group by source, hour_started_at
