{{
    config(
        materialized='incremental',
        unique_key=['date'],
        on_schema_change='fail',
        indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}, {'columns': ['date']}, {'columns': ['loaded_at']}],
    )
}}

-- the last sweep of each UTC day that a coin was in; a day is written whole
with snapshots as (

    select
        *,
        {{ utc_date('snapshot_at') }} as date
    from {{ ref('fct_market_snapshots') }}

),

{% if is_incremental() -%}
changed as (

    select distinct date from snapshots
    where loaded_at > '{{ newest_load() }}'::timestamptz

),
{% endif %}
days as (

    select
        snapshots.*,
        row_number() over (
            partition by snapshots.crypto_id, snapshots.date order by snapshots.snapshot_at desc
        ) as age_rank,
        max(snapshots.loaded_at) over (partition by snapshots.date) as newest_loaded_at
    from snapshots
    {% if is_incremental() -%}
    inner join changed
        on snapshots.snapshot_at >= {{ utc_midnight('changed.date') }}
        and snapshots.snapshot_at < {{ utc_midnight('changed.date + 1') }}
    {%- endif %}

)

select
    crypto_id,
    date,
    snapshot_at,
    symbol,
    name,
    market_cap_rank,
    price_usd,
    market_cap_usd,
    volume_24h_usd,
    circulating_supply,
    total_supply,
    max_supply,
    newest_loaded_at as loaded_at
from days
where age_rank = 1
