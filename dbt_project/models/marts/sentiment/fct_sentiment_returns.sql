{%- set horizons = {'next day': 'btc_return_next_day_pct', 'next week': 'btc_return_next_week_pct'} -%}

with outcomes as (

    {% for horizon, column in horizons.items() %}
    select
        classification,
        '{{ horizon }}' as horizon,
        date,
        {{ column }} as return_pct
    from {{ ref('fct_sentiment_daily') }}
    where {{ column }} is not null
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select
    classification,
    horizon,
    count(*)::integer as n,
    avg(return_pct order by date) as mean_return_pct,
    percentile_cont(0.5) within group (order by return_pct) as median_return_pct,
    stddev_samp(return_pct order by date) as stddev_return_pct,
    100.0::double precision * count(*) filter (where return_pct > 0) / count(*) as positive_pct,
    case when count(*) > 1 then 1.96 * stddev_samp(return_pct order by date) / sqrt(count(*)) end as mean_error_95_pct
from outcomes
group by classification, horizon
