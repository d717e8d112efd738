{%- set pairs = {
    'transactions_trades': ('transaction_count_coinmetrics', 'trade_count'),
    'value_volume': ('estimated_value_usd', 'quote_volume'),
} -%}
{{
    config(
        indexes=[{'columns': ['crypto_id', 'pair', 'date'], 'unique': true}, {'columns': ['date']}],
        post_hook="{{ analyze_after_full_build() }}",
    )
}}

-- a market day counts when all of its 24 hours traded
with market as (

    select
        crypto_id,
        date,
        case when bar_count = 24 then trade_count end as trade_count,
        case when bar_count = 24 then quote_volume end as quote_volume,
        loaded_at,
        series_version
    from {{ ref('int_crypto_daily') }}
    where crypto_id in (select crypto_id from {{ ref('int_onchain_daily') }})

),

-- the watermark of a day, as in int_day_watermarks: the newest load of any row up to it
days as (

    select
        coalesce(onchain.crypto_id, market.crypto_id) as crypto_id,
        coalesce(onchain.date, market.date) as date,
        onchain.date is not null as is_onchain_day,
        onchain.transaction_count_coinmetrics,
        onchain.estimated_value_usd,
        market.trade_count,
        market.quote_volume,
        greatest(max(onchain.loaded_at) over series, max(market.loaded_at) over series) as loaded_at,
        coalesce(max(market.series_version) over (
            partition by coalesce(onchain.crypto_id, market.crypto_id)
        ), 0) as universe_version
    from {{ ref('int_onchain_daily') }} as onchain
    full outer join market
        on onchain.crypto_id = market.crypto_id
        and onchain.date = market.date
    window
        series as (
            partition by coalesce(onchain.crypto_id, market.crypto_id)
            order by coalesce(onchain.date, market.date)
        )

),

pairs as (

    {% for pair, (chain, traded) in pairs.items() %}
    select
        crypto_id,
        '{{ pair }}' as pair,
        date,
        is_onchain_day,
        nullif({{ chain }}, 0)::numeric as chain_value,
        nullif({{ traded }}, 0)::numeric as market_value,
        loaded_at,
        universe_version
    from days
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

-- The change against the same weekday of the week before has no trend, which levels share, and no weekend, which
-- changes from day to day share: of the r = 0.22 between daily changes of value and volume in 2022, 0.05 remained when
-- the mean of each weekday was taken off. Log changes are rounded, so that their sums are exact.
select
    today.crypto_id,
    today.pair,
    today.date,
    ({{ log_return('today.chain_value', 'week_before.chain_value') }})::numeric(18, 15) as chain_change,
    ({{ log_return('today.market_value', 'week_before.market_value') }})::numeric(18, 15) as market_change,
    today.loaded_at,
    today.universe_version
from pairs as today
left join pairs as week_before
    on today.crypto_id = week_before.crypto_id
    and today.pair = week_before.pair
    and today.date = week_before.date + 7
where today.is_onchain_day
