{{
    config(
        materialized='incremental',
        unique_key=['crypto_id', 'opened_at'],
        on_schema_change='fail',
        pre_hook="{{ delete_stale_series() }}",
        post_hook="{{ analyze_after_full_build() }}",
        indexes=[{'columns': ['crypto_id', 'opened_at'], 'unique': true}],
    )
}}

-- An invalid bar also has a row here, with its reason. It carries its load time, so that rows built from the bar
-- are written again without it. All models that read this table exclude such rows.
with series as (

    select
        crypto_id,
        binance_symbol,
        valid_from_at,
        valid_to_at,
        {{ universe_fingerprint() }} as series_version
    from {{ ref('stg_tickmart__universe') }}

),

{% if is_incremental() %}
written_watermarks as (

    select
        series.crypto_id,
        newest.opened_at,
        newest.loaded_at
    from (select distinct crypto_id from series) as series
    cross join lateral (
        select
            opened_at,
            loaded_at
        from {{ this }} as written
        where written.crypto_id = series.crypto_id
        order by opened_at desc
        limit 1
    ) as newest

),

-- the first bar of each series that was loaded since, old or new; the literal lets Postgres use the index on loaded_at
changed as (

    select
        series.crypto_id,
        min(bars.opened_at) as first_changed_at
    from {{ ref('stg_binance__ohlcv') }} as bars
    inner join series
        on bars.binance_symbol = series.binance_symbol
        and bars.opened_at >= series.valid_from_at
        and bars.opened_at < series.valid_to_at
    inner join written_watermarks on series.crypto_id = written_watermarks.crypto_id
    where
        bars.bar_interval = '1h'
        and not {{ loaded_in_the_future('bars') }}
        and bars.loaded_at > '{{ oldest_watermark() }}'::timestamptz
        and bars.loaded_at > written_watermarks.loaded_at
    group by series.crypto_id

    union all

    select
        crypto_id,
        '-infinity'::timestamptz as first_changed_at
    from (select distinct crypto_id from series) as series
    where crypto_id not in (select crypto_id from written_watermarks)

),

-- the newest unchanged bar: the watermark continues from its load time
unchanged as (

    select
        changed.crypto_id,
        changed.first_changed_at,
        coalesce(newest.loaded_at, '-infinity'::timestamptz) as loaded_at
    from changed
    left join lateral (
        select loaded_at
        from {{ this }} as written
        where
            written.crypto_id = changed.crypto_id
            and written.opened_at < changed.first_changed_at
        order by opened_at desc
        limit 1
    ) as newest on true

),

mapped as (

    select
        series.crypto_id,
        series.series_version,
        unchanged.first_changed_at,
        unchanged.loaded_at as unchanged_loaded_at,
        bars.*
    from unchanged
    inner join series on unchanged.crypto_id = series.crypto_id
    cross join lateral (
        select * from {{ ref('stg_binance__ohlcv') }} as bars
        where
            bars.binance_symbol = series.binance_symbol
            and bars.bar_interval = '1h'
            and not {{ loaded_in_the_future('bars') }}
            and bars.opened_at >= greatest(series.valid_from_at, unchanged.first_changed_at - {{ hours(1) }})
            and bars.opened_at < series.valid_to_at
        offset 0
    ) as bars

),
{% else %}
mapped as (

    select
        series.crypto_id,
        series.series_version,
        '-infinity'::timestamptz as first_changed_at,
        '-infinity'::timestamptz as unchanged_loaded_at,
        bars.*
    from {{ ref('stg_binance__ohlcv') }} as bars
    inner join series
        on bars.binance_symbol = series.binance_symbol
        and bars.opened_at >= series.valid_from_at
        and bars.opened_at < series.valid_to_at
    where
        bars.bar_interval = '1h'
        and not {{ loaded_in_the_future('bars') }}

),
{% endif %}

chained as (

    select
        *,
        first_value(case when invalid_reason is null then close end) over (
            partition by crypto_id order by opened_at {{ hours_earlier(1) }}
        ) as close_1h_earlier,
        max(case when opened_at >= first_changed_at then loaded_at end) over (
            partition by crypto_id order by opened_at rows unbounded preceding
        ) as newest_loaded_at
    from mapped

)

select
    crypto_id,
    opened_at,
    closed_at,
    binance_symbol,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    taker_buy_volume,
    taker_buy_quote_volume,
    close_1h_earlier,
    case when invalid_reason is null then {{ log_return('close', 'close_1h_earlier') }} end as log_return,
    invalid_reason,
    greatest(newest_loaded_at, unchanged_loaded_at) as loaded_at,
    series_version
from chained
where opened_at >= first_changed_at
