-- One probe of the index per instrument and minute: the time does not depend on the number of messages.
{{ config(materialized='view') }}

with instruments as (

    select * from {{ ref('int_live_instruments') }}

),

recent_minutes as (

    {{ recent_minutes(120) }}

)

select
    instruments.inst_id,
    recent_minutes.minute,
    instruments.crypto_id,
    tickers.last,
    tickers.spread_bps::double precision as spread_bps,
    tickers.change_24h_pct
from instruments
cross join recent_minutes
cross join lateral (
    select * from {{ ref('stg_okx__tickers') }} as newest
    where
        newest.inst_id = instruments.inst_id
        and newest.quoted_at >= recent_minutes.minute
        and newest.quoted_at < recent_minutes.minute + {{ minutes(1) }}
    order by newest.quoted_at desc
    limit 1
) as tickers
