with source as (

    select * from {{ source('raw', 'bitcoin_blocks') }}

)

select
    block_hash,
    block_number,
    block_timestamp,
    {{ utc_date('block_timestamp') }} as date,
    median_time,
    {{ utc_date('median_time') }} as median_date,
    previous_hash,
    transaction_count,
    row_count,
    size_bytes,
    weight,
    is_final,
    source_day,
    loaded_at
from source
where left_out is null
