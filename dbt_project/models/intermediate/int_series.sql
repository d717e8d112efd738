{{ config(indexes=[{'columns': ['crypto_id'], 'unique': true}]) }}

with newest as (

    select * from {{ newest_rows(ref('int_crypto_hourly'), 'opened_at') }} as newest_rows

)

select
    newest.crypto_id,
    oldest.opened_at as first_opened_at,
    newest.opened_at as last_opened_at,
    newest.loaded_at,
    newest.series_version
from newest
cross join lateral (
    select opened_at
    from {{ ref('int_crypto_hourly') }} as bars
    where bars.crypto_id = newest.crypto_id
    order by opened_at
    limit 1
) as oldest
