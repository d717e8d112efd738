with sentiment as (

    select * from {{ ref('stg_alternative_me__fear_greed') }}
    where invalid_reason is null

),

bitcoin as (

    select
        date,
        close
    from {{ ref('fct_daily_summary') }}
    where crypto_id = 'bitcoin'

)

select
    sentiment.date,
    sentiment.value,
    sentiment.classification,
    sentiment.value - day_before.value as change_1d,
    sentiment.value - week_before.value as change_7d,
    case
        when count(*) over last_30 = 30 then avg(sentiment.value) over last_30
    end::double precision as mean_30d,
    today.close as btc_close,
    (100 * (today.close - yesterday.close) / yesterday.close)::double precision as btc_return_pct,
    (100 * (next_day.close - today.close) / today.close)::double precision as btc_return_next_day_pct,
    (100 * (next_week.close - today.close) / today.close)::double precision as btc_return_next_week_pct,
    sentiment.loaded_at
from sentiment
left join sentiment as day_before on sentiment.date - 1 = day_before.date
left join sentiment as week_before on sentiment.date - 7 = week_before.date
left join bitcoin as yesterday on sentiment.date - 1 = yesterday.date
left join bitcoin as today on sentiment.date = today.date
left join bitcoin as next_day on sentiment.date + 1 = next_day.date
left join bitcoin as next_week on sentiment.date + 7 = next_week.date
window last_30 as ({{ trailing_days('sentiment.date', 30) }})
