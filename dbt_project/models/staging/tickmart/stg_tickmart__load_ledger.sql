with source as (

    select * from {{ source('ops', 'load_ledger') }}

)

select
    object_key,
    dataset,
    rows as row_count,
    inserted as inserted_count,
    updated as updated_count,
    unchanged as unchanged_count,
    batch_id,
    loaded_at
from source
-- the rows of an object that is merged count in the merged one
where merged_into is null
