with source as (

    select * from {{ source('ops', 'rejected_records') }}

)

select
    rejected_id,
    dataset,
    object_key,
    reason,
    batch_id,
    rejected_at,
    replayed_at
from source
