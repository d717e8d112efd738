with source as (

    select * from {{ source('raw', 'coingecko_markets') }}

)

select
    crypto_id,
    snapshot_at,
    upper(symbol) as symbol,
    name,
    image as image_url,
    current_price as price_usd,
    market_cap as market_cap_usd,
    market_cap_rank,
    fully_diluted_valuation as fully_diluted_valuation_usd,
    total_volume as volume_24h_usd,
    high_24h as high_24h_usd,
    low_24h as low_24h_usd,
    price_change_24h as price_change_24h_usd,
    price_change_percentage_1h_in_currency as change_1h_pct,
    coalesce(price_change_percentage_24h_in_currency, price_change_percentage_24h) as change_24h_pct,
    price_change_percentage_7d_in_currency as change_7d_pct,
    market_cap_change_24h as market_cap_change_24h_usd,
    market_cap_change_percentage_24h as market_cap_change_24h_pct,
    circulating_supply,
    total_supply,
    max_supply,
    ath as ath_usd,
    ath_change_percentage as ath_change_pct,
    ath_date as ath_at,
    atl as atl_usd,
    atl_change_percentage as atl_change_pct,
    atl_date as atl_at,
    last_updated as last_updated_at,
    loaded_at,
    batch_id
from source
