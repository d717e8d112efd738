select
    row_number() over (order by market_cap_usd desc, crypto_id)::integer as position,
    crypto_id,
    symbol,
    name,
    market_cap_rank,
    price_usd,
    market_cap_usd,
    fully_diluted_valuation_usd,
    dominance_pct,
    market_cap_change_24h_usd,
    market_cap_change_24h_pct,
    circulating_supply,
    snapshot_at
from {{ ref('v_latest_snapshot') }}
where market_cap_usd > 0
