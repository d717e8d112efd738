select
    row_number() over (order by change_24h_pct desc, crypto_id)::integer as position,
    crypto_id,
    symbol,
    name,
    market_cap_rank,
    price_usd,
    change_24h_pct,
    change_1h_pct,
    change_7d_pct,
    market_cap_usd,
    volume_24h_usd,
    snapshot_at
from {{ ref('v_top_100') }}
where
    change_24h_pct > 0
    and volume_24h_usd >= 1000000
