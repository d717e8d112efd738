{%- set metrics = {
    'transaction_count_coinmetrics': ('coinmetrics', 'TxCnt', 'bigint'),
    'transaction_count_blockchain': ('blockchain', 'n-transactions', 'bigint'),
    'active_addresses': ('coinmetrics', 'AdrActCnt', 'bigint'),
    'transfer_count': ('coinmetrics', 'TxTfrCnt', 'bigint'),
    'fee_btc': ('coinmetrics', 'FeeTotNtv', 'numeric'),
    'hash_rate_ths': ('coinmetrics', 'HashRate', 'numeric'),
    'estimated_value_usd': ('blockchain', 'estimated-transaction-volume-usd', 'numeric'),
    'gross_output_btc': ('blockchain', 'output-volume', 'numeric'),
} -%}
{{ config(indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}]) }}

-- A value that was loaded before its day ended is partial. The limit fits a bigint. The row of an unusable value
-- remains, without the value: it carries the load time.
with complete as (

    select
        source,
        crypto_id,
        metric,
        date,
        case
            when invalid_reason is null and loaded_at >= {{ utc_midnight('date + 1') }} and value < 1e18 then value
        end as value,
        loaded_at
    from {{ ref('stg_onchain__daily') }}

)

select
    crypto_id,
    date,
    {% for column, (source, metric, type) in metrics.items() %}
    (max(value) filter (where source = '{{ source }}' and metric = '{{ metric }}'))::{{ type }} as {{ column }},
    {% endfor %}
    max(loaded_at) as loaded_at
from complete
group by crypto_id, date
