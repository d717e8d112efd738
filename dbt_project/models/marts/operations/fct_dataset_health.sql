-- A view, because age is measured at query time: the health must degrade even if no build runs any more.
{{ config(materialized='view') }}

{%- set labels = ['Healthy', 'Unknown', 'Warning', 'Degraded'] %}

with datasets as (

    select * from {{ ref('stg_tickmart__datasets') }}

),

onchain_series as (

    select * from {{ ref('int_onchain_series') }}

),

newest_data as (

    select
        'binance_klines' as dataset,
        max(last_bar_at) + {{ hours(1) }} as last_data_at,
        null::bigint as counted_rows
    from {{ ref('dim_crypto') }}
    union all
    select
        'coingecko_markets' as dataset,
        max(snapshot_at) as last_data_at,
        null::bigint as counted_rows
    from {{ ref('fct_market_snapshots') }}
    union all
    select
        'fear_greed' as dataset,
        {{ utc_midnight('max(date)') }} as last_data_at,
        -- each object of the index contains its full history, so the ledger's sum would count a day many times
        count(*) as counted_rows
    from {{ ref('fct_sentiment_daily') }}
    union all
    select
        'onchain_daily_' || source as dataset,
        -- the end of the newest day of the series that is furthest behind
        {{ utc_midnight('min(newest_date) + 1') }} as last_data_at,
        sum(days)::bigint as counted_rows
    from onchain_series
    group by source
    union all
    select
        dataset,
        newest_at as last_data_at,
        -- an edited headline is in several objects
        row_count::bigint as counted_rows
    from {{ ref('int_news_series') }}
    union all
    select
        'bitcoin_transactions' as dataset,
        max(block_timestamp) as last_data_at,
        -- of a replaced day, the ledger has the rows of the object and not what raw had before
        coalesce(sum(row_count), 0)::bigint as counted_rows
    from {{ ref('stg_bitcoin__blocks') }}
    union all
    select
        'okx_trades' as dataset,
        max(traded_at) as last_data_at,
        null::bigint as counted_rows
    from {{ ref('stg_okx__trades') }}
    union all
    select
        'okx_tickers' as dataset,
        max(quoted_at) as last_data_at,
        null::bigint as counted_rows
    from {{ ref('stg_okx__tickers') }}

),

-- from the ledger, which every load updates: counting millions of rows takes too long for a page
loads as (

    select
        dataset,
        max(loaded_at) as last_loaded_at,
        sum(row_count)::bigint as loaded_rows
    from {{ ref('stg_tickmart__load_ledger') }}
    group by dataset

),

attempts as (

    select
        stages.dataset,
        stages.ended_at as last_attempt_at,
        first_value(stages.run_id) over (partition by stages.dataset order by stages.ended_at desc)
        = stages.run_id as is_newest_run,
        stages.status,
        coalesce(
            datasets.optional and stages.stage = 'bronze' and stages.status = 'failed', false
        ) as is_unanswered
    from {{ ref('stg_tickmart__run_stages') }} as stages
    left join datasets on stages.dataset = datasets.dataset
    where stages.ended_at >= current_timestamp - {{ hours(168) }}

),

-- an optional source without an answer is no fault: its data becomes late by its SLA
newest_attempts as (

    select
        dataset,
        max(last_attempt_at) as last_attempt_at,
        max(
            case when is_unanswered then 0 when status = 'failed' then 3 when status = 'partial' then 2 else 0 end
        ) as load_level,
        bool_or(is_unanswered) as is_unanswered
    from attempts
    where is_newest_run
    group by dataset

),

-- the age of an optional dataset that never had data
awaited as (

    select
        datasets.dataset,
        extract(epoch from current_timestamp - min(stages.ended_at))::double precision as awaited_seconds
    from datasets
    left join {{ ref('stg_tickmart__run_stages') }} as stages on datasets.dataset = stages.dataset
    where datasets.optional
    group by datasets.dataset

),

latest_checks as (

    select
        asset,
        check_name,
        severity,
        status,
        row_number() over (partition by asset, check_name order by checked_at desc, check_id desc) as recency
    from {{ ref('fct_check_results') }}
    where checked_at >= current_timestamp - {{ hours(48) }}

),

checks as (

    select
        dataset_assets.dataset,
        count(*) as checks,
        count(*) filter (where latest_checks.status <> 'passed' and latest_checks.severity = 'error') as failed_checks,
        count(*) filter (where latest_checks.status <> 'passed' and latest_checks.severity = 'warn') as warned_checks
    from latest_checks
    inner join {{ ref('stg_tickmart__dataset_assets') }} as dataset_assets
        on latest_checks.asset = dataset_assets.asset
    left join awaited on dataset_assets.dataset = awaited.dataset
    left join newest_attempts on dataset_assets.dataset = newest_attempts.dataset
    where
        latest_checks.recency = 1
        and not coalesce(newest_attempts.is_unanswered and latest_checks.check_name = 'source_answered', false)
        and not (awaited.dataset is not null and latest_checks.check_name = 'has_data')
    group by dataset_assets.dataset

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
        awaited.awaited_seconds,
        datasets.sla_seconds::double precision as sla_seconds,
        datasets.degraded_after_seconds,
        coalesce(newest_data.counted_rows, loads.loaded_rows) as estimated_rows,
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
        end as checks_level,
        case when gaps.open_gaps > 0 then 2 else 0 end as gaps_level
    from datasets
    left join newest_data on datasets.dataset = newest_data.dataset
    left join loads on datasets.dataset = loads.dataset
    left join newest_attempts on datasets.dataset = newest_attempts.dataset
    left join checks on datasets.dataset = checks.dataset
    left join gaps on datasets.dataset = gaps.dataset
    left join awaited on datasets.dataset = awaited.dataset
    left join rejected on datasets.dataset = rejected.dataset

),

with_levels as (

    select
        *,
        case
            when coalesce(age_seconds, awaited_seconds) > degraded_after_seconds then 3
            when coalesce(age_seconds, awaited_seconds) > sla_seconds then 2
            when age_seconds is null then 1
            else 0
        end as freshness_level
    from measured

)

select
    dataset,
    source,
    {{ label_for_level('greatest(load_level, freshness_level, checks_level, gaps_level)', labels) }} as health,
    {{ label_for_level('load_level', labels) }} as load_health,
    {{ label_for_level('freshness_level', labels) }} as freshness_health,
    {{ label_for_level('checks_level', labels) }} as checks_health,
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
from with_levels
