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
    {{ invalid_bar_reason() }} as invalid_reason
from renamed
