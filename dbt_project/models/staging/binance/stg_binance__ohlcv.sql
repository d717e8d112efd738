with source as (

    select * from {{ source('raw', 'binance_klines') }}

),

renamed as (

    select
        symbol as binance_symbol,
        interval as bar_interval,
        open_time as opened_at,
        close_time as closed_at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trade_count,
        taker_buy_base_volume as taker_buy_volume,
        taker_buy_quote_volume,
        loaded_at,
        batch_id
    from source

)

select
    *,
    -- a comparison with null is null, so coalesce makes a missing amount invalid
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
        when not coalesce({{ var('bar_prices_rule') }}, false) then 'impossible prices'
        when not coalesce({{ var('bar_amounts_rule') }}, false) then 'impossible volume or number of trades'
        when not coalesce(taker_buy_volume between 0 and volume, true) then 'takers bought more than was traded'
        when not coalesce(closed_at > opened_at, false) then 'closed before it opened'
    end as invalid_reason
from renamed
