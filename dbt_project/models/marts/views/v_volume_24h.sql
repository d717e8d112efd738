select
    row_number() over (order by volume_24h_usd desc, crypto_id)::integer as position,
    crypto_id,
    symbol,
    name,
    market_cap_rank,
    price_usd,
    volume_24h_usd,
    (100 * volume_24h_usd / sum(volume_24h_usd) over ())::double precision as volume_share_pct,
    turnover,
    change_24h_pct,
    snapshot_at
from {{ ref('v_latest_snapshot') }}
where volume_24h_usd > 0
