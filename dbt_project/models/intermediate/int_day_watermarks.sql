{{ config(indexes=[{'columns': ['date'], 'unique': true}]) }}

with universe as (

    select
        {{ fingerprint(joined_texts("crypto_id || '|' || series_version", ['crypto_id'])) }} as universe_version
    from {{ ref('int_asset_watermarks') }}

),

days as (

    select
        date,
        max(loaded_at) as loaded_at
    from {{ ref('int_crypto_daily') }}
    group by date

)

select
    days.date,
    max(days.loaded_at) over (order by days.date) as loaded_at,
    universe.universe_version
from days
cross join universe
