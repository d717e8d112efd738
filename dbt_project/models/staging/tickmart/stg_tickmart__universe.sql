with source as (

    select * from {{ source('raw', 'universe') }}

)

select
    crypto_id,
    binance_symbol,
    name,
    category,
    valid_from,
    valid_to,
    coalesce({{ utc_midnight('valid_from') }}, '-infinity'::timestamptz) as valid_from_at,
    coalesce({{ utc_midnight('valid_to') }}, 'infinity'::timestamptz) as valid_to_at,
    loaded_at,
    batch_id
from source
