-- A view on Postgres, where raw has the transactions; on engines a table by month (macros/dialect/tables.sql). A row
-- depends on its own transaction only, so an engine can build a range of days.
select
    'bitcoin' as crypto_id,
    {{ hex_text('txid') }} as txid,
    {{ hex_text('block_hash') }} as block_hash,
    block_number,
    block_timestamp,
    {{ utc_date('block_timestamp') }} as date,
    {{ start_of("'month'", utc_date('block_timestamp')) }} as month_start,
    is_coinbase,
    input_count,
    output_count,
    input_sats,
    output_sats,
    fee_sats,
    size_bytes,
    virtual_size,
    {{ ratio('fee_sats', 'virtual_size') }} as fee_rate
from {{ ref('stg_bitcoin__transactions') }}
