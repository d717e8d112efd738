select
    row_number() over (order by turnover desc, crypto_id)::integer as position,
    crypto_id,
    symbol,
    name,
    market_cap_rank,
    price_usd,
    change_1h_pct,
    change_24h_pct,
    change_7d_pct,
    turnover,
    market_cap_usd,
    volume_24h_usd,
    snapshot_at
from {{ ref('v_latest_snapshot') }}
where
    change_1h_pct > 0
    and change_24h_pct > 0
    and change_7d_pct > 0
    and volume_24h_usd >= 1000000
