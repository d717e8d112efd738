-- Every coin of the latest snapshot. A declared category wins over the universe file's, which is free text. The windows
-- of 30 days and a year are Binance's, because CoinGecko's snapshot ends at 7 days; only tracked coins have them.
select
    v_market_cap.position,
    latest.crypto_id,
    latest.symbol,
    latest.name,
    coalesce(declared.category, dim.category) as category,
    {{ is_pegged('declared.category', 'dim.category') }} as is_pegged,
    dim.last_bar_at is not null as is_tracked,
    latest.price_usd,
    latest.change_1h_pct,
    latest.change_24h_pct,
    latest.change_7d_pct,
    {{ change_pct('newest.close', 'month_ago.close') }} as change_30d_pct,
    {{ change_pct('newest.close', 'year_ago.close') }} as change_1y_pct,
    latest.market_cap_usd,
    latest.fully_diluted_valuation_usd,
    latest.volume_24h_usd,
    latest.turnover,
    latest.circulating_supply,
    latest.total_supply,
    latest.max_supply,
    latest.ath_usd,
    latest.ath_change_pct,
    latest.ath_at,
    latest.image_url,
    latest.snapshot_at
from {{ ref('v_latest_snapshot') }} as latest
left join {{ ref('v_market_cap') }} as v_market_cap on latest.crypto_id = v_market_cap.crypto_id
left join {{ ref('int_coin_categories') }} as declared on latest.crypto_id = declared.crypto_id
left join {{ ref('dim_crypto') }} as dim on latest.crypto_id = dim.crypto_id
{% for name, hours_ago in [('newest', 0), ('month_ago', 30 * 24), ('year_ago', 365 * 24)] -%}
left join {{ ref('fct_prices') }} as {{ name }}
    on dim.crypto_id = {{ name }}.crypto_id
    and {{ name }}.opened_at = dim.last_bar_at - {{ hours(hours_ago) }}
{% endfor %}
