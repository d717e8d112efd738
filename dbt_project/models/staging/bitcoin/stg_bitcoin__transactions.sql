with source as (

    select * from {{ source('raw', 'bitcoin_transactions') }}

)

select
    block_hash,
    txid,
    block_number,
    block_timestamp,
    is_coinbase,
    input_count,
    output_count,
    input_sats,
    output_sats,
    fee_sats,
    size_bytes,
    virtual_size
from source
