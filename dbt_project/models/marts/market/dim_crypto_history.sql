with days as (

    select
        *,
        lag(date) over series as previous_date,
        lag(symbol) over series as previous_symbol,
        lag(name) over series as previous_name,
        lag(market_cap_rank) over series as previous_rank,
        lag(circulating_supply) over series as previous_circulating_supply,
        lag(total_supply) over series as previous_total_supply,
        lag(max_supply) over series as previous_max_supply
    from {{ ref('int_market_daily') }}
    window series as (partition by crypto_id order by date)

),

changes as (

    select * from days
    where
        previous_date is null
        or symbol is distinct from previous_symbol
        or name is distinct from previous_name
        or market_cap_rank is distinct from previous_rank
        or circulating_supply is distinct from previous_circulating_supply
        or total_supply is distinct from previous_total_supply
        or max_supply is distinct from previous_max_supply

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
from changes
