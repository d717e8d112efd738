{{ config(indexes=[{'columns': ['crypto_id'], 'unique': true}]) }}

with newest as (

    select * from {{ newest_row_per_asset(ref('int_crypto_hourly'), 'opened_at') }} as newest_row_per_asset

)

select
    newest.crypto_id,
    {% for name, aggregate in [('first_opened_at', 'min'), ('last_opened_at', 'max')] -%}
    (
        select {{ aggregate }}(bars.opened_at)
        from {{ ref('int_crypto_hourly') }} as bars
        where
            bars.crypto_id = newest.crypto_id
            and bars.invalid_reason is null
    ) as {{ name }},
    {% endfor -%}
    newest.loaded_at,
    newest.series_version
from newest
