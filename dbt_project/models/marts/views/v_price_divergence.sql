-- The last bar that closed before the snapshot. A bar older than two hours is not compared.
with pairs as (

    select
        latest.crypto_id,
        latest.symbol,
        latest.snapshot_at,
        latest.price_usd,
        bar.opened_at,
        bar.close
    from {{ ref('v_latest_snapshot') }} as latest
    cross join lateral (
        select
            opened_at,
            close
        from {{ ref('fct_prices') }} as prices
        where
            prices.crypto_id = latest.crypto_id
            and prices.opened_at <= latest.snapshot_at - {{ hours(1) }}
            and prices.opened_at > latest.snapshot_at - {{ hours(3) }}
        order by opened_at desc
        limit 1
    ) as bar
    where latest.price_usd > 0

)

select
    crypto_id,
    symbol,
    snapshot_at,
    opened_at,
    price_usd,
    close,
    {{ change_pct('close', 'price_usd') }} as divergence_pct
from pairs
