{{
    config(
        materialized='incremental',
        unique_key=['snapshot_at'],
        on_schema_change='fail',
        indexes=[{'columns': ['snapshot_at']}, {'columns': ['loaded_at']}],
    )
}}

with snapshots as (

    select * from {{ ref('stg_coingecko__markets') }}
    where
        invalid_reason is null
        {% if is_incremental() -%}
        -- all rows of a snapshot are written again: when one coin is restated, the shares of all change
        and snapshot_at in (
            select snapshot_at from {{ ref('stg_coingecko__markets') }}
            where
                invalid_reason is null
                and loaded_at > '{{ newest_load() }}'::timestamptz
        )
        {%- endif %}

)

select
    crypto_id,
    snapshot_at,
    symbol,
    name,
    image_url,
    market_cap_rank,
    price_usd,
    market_cap_usd,
    fully_diluted_valuation_usd,
    volume_24h_usd,
    (volume_24h_usd / nullif(market_cap_usd, 0))::double precision as turnover,
    (
        100 * market_cap_usd / nullif(sum(market_cap_usd) over snapshot, 0)
    )::double precision as dominance_pct,
    high_24h_usd,
    low_24h_usd,
    price_change_24h_usd,
    change_1h_pct::double precision as change_1h_pct,
    change_24h_pct::double precision as change_24h_pct,
    change_7d_pct::double precision as change_7d_pct,
    market_cap_change_24h_usd,
    market_cap_change_24h_pct::double precision as market_cap_change_24h_pct,
    circulating_supply,
    total_supply,
    max_supply,
    ath_usd,
    ath_change_pct::double precision as ath_change_pct,
    ath_at,
    atl_usd,
    atl_change_pct::double precision as atl_change_pct,
    atl_at,
    last_updated_at,
    loaded_at
from snapshots
window snapshot as (partition by snapshot_at)
