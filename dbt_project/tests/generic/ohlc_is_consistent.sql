{#-
    A bar can be: prices above zero and finite, low and high around open and close, amounts finite and not negative, closed
    after it opened, takers bought no more than was traded, if it is known. NaN fails each of these, and so does null (least()
    would pass over it). With `built` only the bars that are not in that model yet are judged.
-#}
{% test ohlc_is_consistent(model, built=none) %}
{#- depends_on by hand: what is read is decided when the test runs -#}
-- depends_on: {{ ref('stg_tickmart__universe') }}

select
    binance_symbol,
    bar_interval,
    opened_at,
    closed_at,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    trade_count,
    taker_buy_volume,
    loaded_at,
    batch_id
from {{ bars_to_judge(model, built) }} as bars
where
    not coalesce(
        low > 0
        and low <= open
        and low <= close
        and high >= open
        and high >= close
        and high < 'Infinity'
        and volume >= 0
        and volume < 'Infinity'
        and quote_volume >= 0
        and quote_volume < 'Infinity'
        and trade_count >= 0
        and coalesce(taker_buy_volume between 0 and volume, true)
        and closed_at > opened_at,
        false
    )

{% endtest %}
