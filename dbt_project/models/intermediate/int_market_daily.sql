{{
    config(
        materialized='incremental',
        unique_key=['date'],
        on_schema_change='fail',
        indexes=[{'columns': ['crypto_id', 'date'], 'unique': true}, {'columns': ['date']}, {'columns': ['loaded_at']}],
    )
}}

-- the last snapshot of each coin and UTC day; when one coin of a day changes, all rows of the day are written again
with
{% if is_incremental() -%}
changed as (

    select distinct {{ utc_date('snapshot_at') }} as date
    from {{ ref('fct_market_snapshots') }}
    where loaded_at > '{{ newest_load() }}'::timestamptz

),
{% endif %}
snapshots as (

    select
        snapshots.*,
        {{ utc_date('snapshots.snapshot_at') }} as date
    from {{ ref('fct_market_snapshots') }} as snapshots
    {% if is_incremental() -%}
    inner join changed
        on snapshots.snapshot_at >= {{ utc_midnight('changed.date') }}
        and snapshots.snapshot_at < {{ utc_midnight('changed.date + 1') }}
    {%- endif %}

),

days as (

    select
        *,
        row_number() over (partition by crypto_id, date order by snapshot_at desc) as age_rank,
        max(loaded_at) over (partition by date) as newest_loaded_at
    from snapshots

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
