with source as (

    select * from {{ source('ops', 'dataset_assets') }}

)

select
    dataset,
    asset
from source
