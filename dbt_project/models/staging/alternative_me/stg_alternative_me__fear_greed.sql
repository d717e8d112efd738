with source as (

    select * from {{ source('raw', 'fear_greed') }}

)

select
    date,
    value,
    classification,
    loaded_at,
    batch_id,
    case
        when {{ loaded_in_the_future() }} then 'loaded in the future'
        when batch_id is null then 'not written by the loader'
        when not coalesce({{ var('index_value_rule') }}, false) then 'impossible value'
        when classification is null then 'no classification'
    end as invalid_reason
from source
