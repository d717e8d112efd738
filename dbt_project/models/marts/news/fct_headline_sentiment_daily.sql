{%- set fewest_days = 30 -%}

with headlines as (

    select
        crypto_id,
        date,
        source,
        compound,
        sentiment,
        fetched_at,
        loaded_at
    from {{ ref('fct_headlines') }}
    where crypto_id <> 'market'
    union all
    -- the market has every headline, once
    select
        'market' as crypto_id,
        date,
        source,
        compound,
        case when compound >= 0.2 then 'positive' when compound <= -0.2 then 'negative' end as sentiment,
        fetched_at,
        loaded_at
    from {{ ref('int_headlines') }}

),

counted as (

    select
        crypto_id,
        date,
        count(*)::integer as headline_count,
        count(compound)::integer as scored_count,
        avg(compound order by compound) as mean_compound,
        100.0::double precision * count(*) filter (where sentiment = 'positive')
        / nullif(count(compound), 0) as positive_pct,
        100.0::double precision * count(*) filter (where sentiment = 'negative')
        / nullif(count(compound), 0) as negative_pct,
        count(distinct source)::integer as source_count,
        max(fetched_at) as known_at,
        max(loaded_at) as loaded_at
    from headlines
    group by crypto_id, date

),

spans as (

    select
        crypto_id,
        min(date) as first_date,
        max(loaded_at) as loaded_at
    from counted
    group by crypto_id

),

newest as (

    select max(date) as last_date from counted

),

-- a day without a headline counts as zero from an asset's first headline on
days as (

    select
        spans.crypto_id,
        dates.date,
        coalesce(counted.headline_count, 0) as headline_count,
        coalesce(counted.scored_count, 0) as scored_count,
        counted.mean_compound,
        counted.positive_pct,
        counted.negative_pct,
        coalesce(counted.source_count, 0) as source_count,
        counted.known_at,
        coalesce(counted.loaded_at, spans.loaded_at) as loaded_at
    from spans
    cross join newest
    inner join {{ ref('dim_date') }} as dates
        on dates.date between spans.first_date and newest.last_date
    left join counted
        on spans.crypto_id = counted.crypto_id
        and dates.date = counted.date

),

market as (

    select
        crypto_id,
        date,
        close,
        return_pct,
        quote_volume
    from {{ ref('fct_daily_summary') }}
    where crypto_id in (select crypto_id from spans) or crypto_id = 'bitcoin'

),

tone as (

    select
        date,
        avg(tone order by topic) as tone
    from {{ ref('stg_news__tone') }}
    where invalid_reason is null
    group by date

)

select
    days.crypto_id,
    days.date,
    days.headline_count,
    days.scored_count,
    days.mean_compound,
    days.positive_pct,
    days.negative_pct,
    days.source_count,
    case
        when
            count(*) over last_90 >= {{ fewest_days }}
            and stddev_samp(days.headline_count) over last_90 > 0
            then
                (days.headline_count - avg(days.headline_count) over last_90)
                / stddev_samp(days.headline_count) over last_90
    end::double precision as count_z_90d,
    case when days.crypto_id = 'market' then tone.tone end as gdelt_tone,
    market.close,
    market.return_pct,
    market.quote_volume,
    fear_greed.value as fear_greed_value,
    days.known_at,
    days.loaded_at
from days
left join market
    on case when days.crypto_id = 'market' then 'bitcoin' else days.crypto_id end = market.crypto_id
    and days.date = market.date
left join tone on days.date = tone.date
left join {{ ref('fct_sentiment_daily') }} as fear_greed on days.date = fear_greed.date
window last_90 as (partition by days.crypto_id order by days.date rows between 90 preceding and 1 preceding)
