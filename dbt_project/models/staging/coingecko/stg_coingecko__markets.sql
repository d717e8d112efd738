{%- set amounts = {
    'price_usd': 'current_price',
    'market_cap_usd': 'market_cap',
    'fully_diluted_valuation_usd': 'fully_diluted_valuation',
    'volume_24h_usd': 'total_volume',
    'high_24h_usd': 'high_24h',
    'low_24h_usd': 'low_24h',
    'circulating_supply': 'circulating_supply',
    'total_supply': 'total_supply',
    'max_supply': 'max_supply',
    'ath_usd': 'ath',
    'atl_usd': 'atl',
} -%}
{%- set changes = {
    'price_change_24h_usd': 'price_change_24h',
    'change_1h_pct': 'price_change_percentage_1h_in_currency',
    'change_24h_pct': 'coalesce(price_change_percentage_24h_in_currency, price_change_percentage_24h)',
    'change_7d_pct': 'price_change_percentage_7d_in_currency',
    'market_cap_change_24h_usd': 'market_cap_change_24h',
    'market_cap_change_24h_pct': 'market_cap_change_percentage_24h',
    'ath_change_pct': 'ath_change_percentage',
    'atl_change_pct': 'atl_change_percentage',
} -%}

with source as (

    select * from {{ source('raw', 'coingecko_markets') }}

)

select
    crypto_id,
    snapshot_at,
    upper(symbol) as symbol,
    name,
    image as image_url,
    market_cap_rank,
    -- every number is optional: an invalid one becomes null, and the row of the coin stays
    {% for name, value in amounts.items() -%}
    case when {{ is_valid_number(value) }} and {{ value }} >= 0 then {{ value }} end as {{ name }},
    {% endfor -%}
    {% for name, value in changes.items() -%}
    case when {{ is_valid_number(value) }} then {{ value }} end as {{ name }},
    {% endfor -%}
    ath_date as ath_at,
    atl_date as atl_at,
    last_updated as last_updated_at,
    loaded_at,
    batch_id,
    nullif(concat_ws(
        ', '
        {%- for name, value in amounts.items() %},
        case when not ({{ is_valid_number(value) }} and {{ value }} >= 0) then '{{ name }} = ' || {{ value }} end
        {%- endfor %}
        {%- for name, value in changes.items() %},
        case when not {{ is_valid_number(value) }} then '{{ name }} = ' || {{ value }} end
        {%- endfor %}
    ), '') as impossible_numbers,
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
    end as invalid_reason
from source
