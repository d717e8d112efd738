with source as (

    select * from {{ source('raw', 'fear_greed') }}

)

select
    date,
    value,
    classification,
    loaded_at,
    batch_id
from source
