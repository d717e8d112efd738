with days as (

    select
        *,
        lag(date) over series is null
        or (lag(symbol) over series, lag(name) over series, lag(market_cap_rank) over series)
        is distinct from (symbol, name, market_cap_rank)
        or (lag(circulating_supply) over series, lag(total_supply) over series, lag(max_supply) over series)
        is distinct from (circulating_supply, total_supply, max_supply) as is_change
    from {{ ref('int_market_daily') }}
    window series as (partition by crypto_id order by date)

)

select
    crypto_id,
    date as valid_from,
    lead(date) over (partition by crypto_id order by date) as valid_to,
    symbol,
    name,
    market_cap_rank,
    circulating_supply,
    total_supply,
    max_supply
from days
where is_change
