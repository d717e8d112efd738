{{ config(indexes=[{'columns': ['crypto_id'], 'unique': true}]) }}

with newest as (

    select * from {{ newest_row_per_asset(ref('int_crypto_hourly'), 'opened_at') }} as newest_row_per_asset

)

select
    newest.crypto_id,
    first_bar.opened_at as first_opened_at,
    last_bar.opened_at as last_opened_at,
    newest.loaded_at,
    newest.series_version
from newest
{% for name, direction in [('first_bar', 'asc'), ('last_bar', 'desc')] -%}
left join lateral (
    select opened_at
    from {{ ref('int_crypto_hourly') }} as bars
    where
        bars.crypto_id = newest.crypto_id
        and bars.invalid_reason is null
    order by opened_at {{ direction }}
    limit 1
) as {{ name }} on true
{% endfor %}
