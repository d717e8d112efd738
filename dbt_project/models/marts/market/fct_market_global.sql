{{
    config(
        materialized='incremental',
        unique_key=['snapshot_at'],
        on_schema_change='fail',
        indexes=[{'columns': ['loaded_at']}],
    )
}}

with snapshots as (

    select * from {{ ref('fct_market_snapshots') }}
    {% if is_incremental() -%}
    where snapshot_at in (
        select snapshot_at from {{ ref('fct_market_snapshots') }}
        where loaded_at > '{{ newest_load() }}'::timestamptz
    )
    {%- endif %}

)

select
    snapshot_at,
    count(*)::integer as coin_count,
    sum(market_cap_usd) as total_market_cap_usd,
    sum(volume_24h_usd) as total_volume_24h_usd,
    (
        100 * sum(market_cap_change_24h_usd)
        / nullif(sum(market_cap_usd - market_cap_change_24h_usd), 0)
    )::double precision as market_cap_change_24h_pct,
    (sum(volume_24h_usd) / nullif(sum(market_cap_usd), 0))::double precision as turnover,
    (
        100 * sum(market_cap_usd) filter (where crypto_id = 'bitcoin') / nullif(sum(market_cap_usd), 0)
    )::double precision as btc_dominance_pct,
    (
        100 * sum(market_cap_usd) filter (where crypto_id = 'ethereum') / nullif(sum(market_cap_usd), 0)
    )::double precision as eth_dominance_pct,
    count(*) filter (where change_24h_pct > 0)::integer as advancers,
    count(*) filter (where change_24h_pct < 0)::integer as decliners,
    count(*) filter (where change_24h_pct = 0)::integer as unchanged,
    (
        100.0 * count(*) filter (where change_24h_pct > 0) / nullif(count(change_24h_pct), 0)
    )::double precision as breadth_pct,
    percentile_cont(0.5) within group (order by change_24h_pct) as median_change_24h_pct,
    max(loaded_at) as loaded_at
from snapshots
group by snapshot_at
