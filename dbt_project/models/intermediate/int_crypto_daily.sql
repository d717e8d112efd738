{{ config(indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}]) }}

with hourly as (

    select
        *,
        {{ utc_date('opened_at') }} as date
    from {{ ref('int_crypto_hourly') }}

),

-- a day is over once any asset has closed a bar at or after its end
clock as (

    select max(last_opened_at) + {{ hours(1) }} as market_time
    from {{ ref('int_series') }}

)

select
    crypto_id,
    date,
    (array_agg(open order by opened_at))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by opened_at desc))[1] as close,
    sum(volume) as volume,
    sum(quote_volume) as quote_volume,
    sum(trade_count)::bigint as trade_count,
    count(*)::integer as bar_count,
    max(loaded_at) as loaded_at,
    min(series_version) as series_version
from hourly
cross join clock
where {{ utc_midnight('date + 1') }} <= market_time
group by crypto_id, date
