with days as (

    {{ days_between('2009-01-01', '2040-12-31') }}

)

select
    date,
    extract(year from date)::integer as year,
    extract(quarter from date)::integer as quarter,
    extract(month from date)::integer as month,
    extract(day from date)::integer as day_of_month,
    extract(isoyear from date)::integer as iso_year,
    extract(week from date)::integer as iso_week,
    extract(isodow from date)::integer as iso_day_of_week,
    extract(doy from date)::integer as day_of_year,
    date_trunc('week', date::timestamp)::date as week_start,
    date_trunc('month', date::timestamp)::date as month_start,
    extract(isodow from date) in (6, 7) as is_weekend
from days
