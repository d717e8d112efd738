select
    position,
    v_market_cap.crypto_id,
    v_market_cap.symbol,
    v_market_cap.name,
    latest.image_url,
    v_market_cap.market_cap_rank,
    v_market_cap.price_usd,
    latest.change_1h_pct,
    latest.change_24h_pct,
    latest.change_7d_pct,
    v_market_cap.market_cap_usd,
    v_market_cap.dominance_pct,
    latest.volume_24h_usd,
    latest.turnover,
    latest.ath_change_pct,
    v_market_cap.snapshot_at
from {{ ref('v_market_cap') }} as v_market_cap
inner join {{ ref('v_latest_snapshot') }} as latest on v_market_cap.crypto_id = latest.crypto_id
where v_market_cap.position <= 100
