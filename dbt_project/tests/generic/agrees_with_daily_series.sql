{#-
    The transactions of each complete day, without coinbases, are as many as Coin Metrics counts. It counts by the day of
    the median time past. A day is complete when its heights are contiguous and the blocks below and above it are loaded.
    Returns the days that differ by more than `tolerance_pct`.
-#}
{% test agrees_with_daily_series(model, tolerance_pct) %}

with counted as (

    select
        median_date as date,
        sum(transaction_count - 1) as transaction_count,
        min(block_number) as first_number,
        max(block_number) as last_number,
        count(*) as block_count
    from {{ model }}
    where median_date is not null
    group by median_date

)

select
    counted.date,
    counted.transaction_count,
    daily.transaction_count_coinmetrics
from counted
inner join {{ ref('int_onchain_daily') }} as daily on counted.date = daily.date
inner join {{ model }} as below on counted.first_number - 1 = below.block_number
inner join {{ model }} as above on counted.last_number + 1 = above.block_number
where
    counted.block_count = counted.last_number - counted.first_number + 1
    and abs(counted.transaction_count - daily.transaction_count_coinmetrics)
    > daily.transaction_count_coinmetrics * {{ tolerance_pct }} / 100.0

{% endtest %}
