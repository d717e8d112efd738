{{
    config(
        materialized='incremental',
        unique_key=['crypto_id', 'date'],
        on_schema_change='fail',
        pre_hook="{{ delete_stale_series('date', ref('int_asset_watermarks')) }}",
        indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}],
    )
}}

-- a day is complete when any asset has closed a bar at or after its end
with clock as (

    select {{ utc_date('max(last_opened_at) + ' ~ hours(1)) }} as market_date
    from {{ ref('int_asset_watermarks') }}

),

{% if is_incremental() -%}
changed as (

    select
        series.crypto_id,
        case
            when unchanged.opened_at is null then '-infinity'::date
            else least({{ utc_date('unchanged.opened_at') }}, written.date + 1)
        end as first_changed_date
    from {{ ref('int_asset_watermarks') }} as series
    cross join clock
    left join lateral (
        select
            date,
            loaded_at
        from {{ this }} as days
        where days.crypto_id = series.crypto_id
        order by date desc
        limit 1
    ) as written on true
    left join lateral (
        select opened_at
        from {{ ref('int_crypto_hourly') }} as hourly
        where
            hourly.crypto_id = series.crypto_id
            and hourly.loaded_at <= written.loaded_at
        order by opened_at desc
        limit 1
    ) as unchanged on true
    where
        written.loaded_at is null
        or written.loaded_at < series.loaded_at
        or written.date < least(clock.market_date - 1, {{ utc_date('series.last_opened_at') }})

),

hourly as (

    select
        {{ utc_date('bars.opened_at') }} as date,
        bars.*
    from changed
    cross join lateral (
        select * from {{ ref('int_crypto_hourly') }} as hourly
        where
            hourly.crypto_id = changed.crypto_id
            and hourly.opened_at >= {{ utc_midnight('changed.first_changed_date') }}
        offset 0
    ) as bars

)
{%- else -%}
hourly as (

    select
        {{ utc_date('bars.opened_at') }} as date,
        bars.*
    from {{ ref('int_crypto_hourly') }} as bars

)
{%- endif %}

-- a day with only invalid bars also has a row, without prices: it carries their load time
select
    crypto_id,
    date,
    {{ first_by('open', 'opened_at', 'invalid_reason is null') }} as open,
    max(high) filter (where invalid_reason is null) as high,
    min(low) filter (where invalid_reason is null) as low,
    {{ last_by('close', 'opened_at', 'invalid_reason is null') }} as close,
    sum(volume) filter (where invalid_reason is null) as volume,
    sum(quote_volume) filter (where invalid_reason is null) as quote_volume,
    (sum(trade_count) filter (where invalid_reason is null))::bigint as trade_count,
    (count(*) filter (where invalid_reason is null))::integer as bar_count,
    max(loaded_at) as loaded_at,
    min(series_version) as series_version
from hourly
cross join clock
where date < market_date
group by crypto_id, date
