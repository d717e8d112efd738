{%- set pairs = ['transactions_trades', 'value_volume'] -%}
{%- set windows = [30, 90, 365] -%}

with market as (

    select * from {{ ref('fct_daily_summary') }}
    where crypto_id in (select crypto_id from {{ ref('int_onchain_daily') }})

),

changes as (

    select
        crypto_id,
        date,
        {% for pair in pairs %}
        (max(chain_change) filter (where pair = '{{ pair }}'))::double precision as chain_change_{{ pair }},
        (max(market_change) filter (where pair = '{{ pair }}'))::double precision as market_change_{{ pair }},
        {% endfor %}
        max(loaded_at) as loaded_at
    from {{ ref('int_onchain_changes') }}
    group by crypto_id, date

),

rolling as (

    select
        crypto_id,
        date,
        {% for pair in pairs %}
        {% for days in windows %}
        {% for column in ['pearson', 'spearman', 'n'] %}
        max({{ column }}) filter (where pair = '{{ pair }}' and window_days = {{ days }})
            as {{ column }}_{{ pair }}_{{ days }}d,
        {% endfor %}
        {% endfor %}
        {% endfor %}
        count(*) as windows
    from {{ ref('int_onchain_correlations') }}
    group by crypto_id, date

)

select
    onchain.crypto_id,
    onchain.date,
    onchain.transaction_count_coinmetrics,
    onchain.transaction_count_blockchain,
    onchain.active_addresses,
    onchain.transfer_count,
    onchain.fee_btc,
    onchain.fee_btc::double precision * market.vwap as fee_usd,
    onchain.hash_rate_ths,
    onchain.estimated_value_usd,
    onchain.gross_output_btc,
    market.close,
    market.return_pct,
    market.quote_volume,
    market.trade_count,
    market.bar_count,
    {% for pair in pairs %}
    changes.chain_change_{{ pair }},
    changes.market_change_{{ pair }},
    {% for days in windows %}
    {% for column in ['pearson', 'spearman', 'n'] %}
    rolling.{{ column }}_{{ pair }}_{{ days }}d,
    {% endfor %}
    {% endfor %}
    {% endfor %}
    greatest(onchain.loaded_at, market.loaded_at, changes.loaded_at) as loaded_at
from {{ ref('int_onchain_daily') }} as onchain
left join market
    on onchain.crypto_id = market.crypto_id
    and onchain.date = market.date
left join changes
    on onchain.crypto_id = changes.crypto_id
    and onchain.date = changes.date
left join rolling
    on onchain.crypto_id = rolling.crypto_id
    and onchain.date = rolling.date
where
    coalesce(
        onchain.transaction_count_coinmetrics,
        onchain.transaction_count_blockchain,
        onchain.active_addresses,
        onchain.transfer_count,
        onchain.fee_btc,
        onchain.hash_rate_ths,
        onchain.estimated_value_usd,
        onchain.gross_output_btc
    ) is not null
