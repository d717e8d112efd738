with newest as (

    select max(snapshot_at) as snapshot_at
    from {{ ref('fct_market_snapshots') }}

)

select
    {{ utc_date('snapshots.snapshot_at') }} as date,
    snapshots.snapshot_at,
    snapshots.crypto_id,
    snapshots.symbol,
    snapshots.name,
    snapshots.market_cap_rank,
    snapshots.price_usd,
    snapshots.market_cap_usd,
    snapshots.volume_24h_usd,
    snapshots.change_24h_pct,
    snapshots.snapshot_at = newest.snapshot_at as is_latest
from newest
inner join {{ ref('fct_market_snapshots') }} as snapshots
    on snapshots.snapshot_at >= {{ utc_midnight(utc_date('newest.snapshot_at')) }}
