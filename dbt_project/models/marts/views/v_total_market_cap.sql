select
    snapshot_at,
    coin_count,
    total_market_cap_usd,
    total_volume_24h_usd,
    market_cap_change_24h_pct,
    turnover,
    btc_dominance_pct,
    eth_dominance_pct,
    advancers,
    decliners,
    unchanged,
    breadth_pct,
    median_change_24h_pct
from {{ ref('fct_market_global') }}
where snapshot_at = (select max(snapshot_at) from {{ ref('fct_market_global') }})
