{{
    config(
        materialized='incremental',
        unique_key=['crypto_id', 'date'],
        on_schema_change='fail',
        pre_hook="{{ forget_changed_series('date', ref('int_series')) }}",
        indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}],
    )
}}

-- a day is over once any asset has closed a bar at or after its end
with clock as (

    select {{ utc_date('max(last_opened_at) + ' ~ hours(1)) }} as market_date
    from {{ ref('int_series') }}

),

{% if is_incremental() -%}
changed as (

    select
        series.crypto_id,
        case
            when same.opened_at is null then '-infinity'::date
            else least({{ utc_date('same.opened_at') }}, done.date + 1)
        end as first_changed_date
    from {{ ref('int_series') }} as series
    cross join clock
    left join lateral (
        select
            date,
            loaded_at
        from {{ this }} as written
        where written.crypto_id = series.crypto_id
        order by date desc
        limit 1
    ) as done on true
    left join lateral (
        select opened_at
        from {{ ref('int_crypto_hourly') }} as hourly
        where
            hourly.crypto_id = series.crypto_id
            and hourly.loaded_at <= done.loaded_at
        order by opened_at desc
        limit 1
    ) as same on true
    where
        done.loaded_at is null
        or done.loaded_at < series.loaded_at
        or done.date < least(clock.market_date - 1, {{ utc_date('series.last_opened_at') }})

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

-- a day of invalid bars alone has a row too, with no bars: it carries their load time
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
