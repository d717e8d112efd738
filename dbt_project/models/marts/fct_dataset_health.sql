-- A view, because age is measured when it is asked for: if every build stopped, the health must still fall.
{{ config(materialized='view') }}

{%- set words = ['Healthy', 'Unknown', 'Warning', 'Degraded'] %}

with datasets as (

    {% for dataset in datasets() %}
    select
        '{{ dataset.dataset }}' as dataset,
        '{{ dataset.source }}' as source,
        {{ dataset.sla_hours }} as sla_hours
    {{ 'union all' if not loop.last }}
    {% endfor %}

),

newest_data as (

    select
        'binance_klines' as dataset,
        max(last_bar_at) + {{ hours(1) }} as last_data_at,
        {{ estimated_rows(ref('fct_prices')) }} as estimated_rows
    from {{ ref('dim_crypto') }}
    union all
    select
        'coingecko_markets' as dataset,
        max(snapshot_at) as last_data_at,
        {{ estimated_rows(ref('fct_market_snapshots')) }} as estimated_rows
    from {{ ref('fct_market_snapshots') }}
    union all
    select
        'fear_greed' as dataset,
        {{ utc_midnight('max(date)') }} as last_data_at,
        count(*) as estimated_rows
    from {{ ref('fct_sentiment_daily') }}

),

loads as (

    select
        dataset,
        max(loaded_at) as last_loaded_at
    from {{ ref('stg_tickmart__load_ledger') }}
    group by dataset

),

attempts as (

    select
        dataset,
        ended_at as last_attempt_at,
        first_value(run_id) over (partition by dataset order by ended_at desc) = run_id as is_newest_run,
        status
    from {{ ref('stg_tickmart__run_stages') }}
    where ended_at >= current_timestamp - {{ hours(168) }}

),

newest_attempts as (

    select
        dataset,
        max(last_attempt_at) as last_attempt_at,
        max(case status when 'failed' then 3 when 'partial' then 2 else 0 end) as load_level
    from attempts
    where is_newest_run
    group by dataset

),

latest_checks as (

    select
        dataset,
        severity,
        status,
        row_number() over (partition by asset, check_name order by checked_at desc, check_id desc) as recency
    from {{ ref('fct_check_results') }}
    where checked_at >= current_timestamp - {{ hours(48) }}

),

checks as (

    select
        dataset,
        count(*) as checks,
        count(*) filter (where status <> 'passed' and severity = 'error') as failed_checks,
        count(*) filter (where status <> 'passed' and severity = 'warn') as warned_checks
    from latest_checks
    where recency = 1
    group by dataset

),

gaps as (

    select
        'binance_klines' as dataset,
        count(*) as open_gaps
    from {{ ref('stg_tickmart__gaps') }}
    where kind = 'missing_locally'

),

rejected as (

    select
        dataset,
        count(*) as rejected_records
    from {{ ref('stg_tickmart__rejected_records') }}
    where replayed_at is null
    group by dataset

),

measured as (

    select
        datasets.dataset,
        datasets.source,
        newest_data.last_data_at,
        loads.last_loaded_at,
        newest_attempts.last_attempt_at,
        extract(epoch from current_timestamp - newest_data.last_data_at)::double precision as age_seconds,
        (datasets.sla_hours * 3600)::double precision as sla_seconds,
        newest_data.estimated_rows,
        coalesce(checks.failed_checks, 0) as failed_checks,
        coalesce(checks.warned_checks, 0) as warned_checks,
        coalesce(gaps.open_gaps, 0) as open_gaps,
        coalesce(rejected.rejected_records, 0) as rejected_records,
        case
            when newest_attempts.load_level > 0 then newest_attempts.load_level
            when newest_data.last_data_at is null then 1
            else 0
        end as load_level,
        case
            when checks.failed_checks > 0 then 3
            when checks.warned_checks > 0 then 2
            when checks.checks is null then 1
            else 0
        end as checks_level
    from datasets
    left join newest_data on datasets.dataset = newest_data.dataset
    left join loads on datasets.dataset = loads.dataset
    left join newest_attempts on datasets.dataset = newest_attempts.dataset
    left join checks on datasets.dataset = checks.dataset
    left join gaps on datasets.dataset = gaps.dataset
    left join rejected on datasets.dataset = rejected.dataset

),

-- late is a warning; later than four times what was promised is a failure
levelled as (

    select
        *,
        case
            when age_seconds is null then 1
            when age_seconds > 4 * sla_seconds then 3
            when age_seconds > sla_seconds then 2
            else 0
        end as freshness_level
    from measured

)

select
    dataset,
    source,
    {{ word_of('greatest(load_level, freshness_level, checks_level)', words) }} as health,
    {{ word_of('load_level', words) }} as load_health,
    {{ word_of('freshness_level', words) }} as freshness_health,
    {{ word_of('checks_level', words) }} as checks_health,
    last_data_at,
    last_loaded_at,
    last_attempt_at,
    age_seconds,
    sla_seconds,
    estimated_rows,
    failed_checks,
    warned_checks,
    open_gaps,
    rejected_records
from levelled
