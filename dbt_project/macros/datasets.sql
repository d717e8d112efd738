{#- The datasets whose health is told, with the age at which their newest data is late. -#}
{% macro datasets() -%}
    {{ return([
        {'dataset': 'binance_klines', 'source': 'Binance', 'sla_hours': 2, 'models': ['ohlcv', 'crypto_hourly', 'prices',
            'daily', 'volatility', 'candles', 'correlations']},
        {'dataset': 'coingecko_markets', 'source': 'CoinGecko', 'sla_hours': 2, 'models': ['market', 'v_']},
        {'dataset': 'fear_greed', 'source': 'alternative.me', 'sla_hours': 26, 'models': ['sentiment']},
    ]) }}
{%- endmacro %}

{#- Which dataset an asset (raw/binance_klines, marts/fct_prices, ...) is made of; null when of several or none. -#}
{% macro dataset_of(asset) -%}
    case
        {% for dataset in datasets() -%}
        when {{ asset }} like '%{{ dataset.dataset }}%' then '{{ dataset.dataset }}'
        {% endfor -%}
        {% for dataset in datasets() -%}
        {% for model in dataset.models -%}
        when {{ asset }} like '%{{ model.replace('_', '\\_') }}%' then '{{ dataset.dataset }}'
        {% endfor -%}
        {% endfor -%}
    end
{%- endmacro %}

{#- The word for a level counted from 0. -#}
{% macro word_of(level, words) -%}
    case {{ level }} {% for word in words %}when {{ loop.index0 }} then '{{ word }}' {% endfor %}end
{%- endmacro %}

{#- Rows of a table as the engine last estimated them: counting millions takes longer than a page may. Null if unknown. -#}
{% macro estimated_rows(relation) -%}
    {{ return(adapter.dispatch('estimated_rows')(relation)) }}
{%- endmacro %}

{% macro postgres__estimated_rows(relation) -%}
    (
        select nullif(reltuples, -1)::bigint from pg_class
        where oid = to_regclass('{{ relation.include(database=false) }}')
    )
{%- endmacro %}
