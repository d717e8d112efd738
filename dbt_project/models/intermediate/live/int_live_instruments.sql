-- A view: it has some fifty rows, and the views of live prices must follow a changed universe.
{{ config(materialized='view') }}

with universe as (

    select * from {{ ref('stg_tickmart__universe') }}

),

-- a symbol can have belonged to another asset before
ranked as (

    select
        *,
        regexp_replace(binance_symbol, 'USDT$', '-USDT') as inst_id,
        row_number() over (
            partition by binance_symbol order by valid_to_at desc, valid_from_at desc, crypto_id
        ) as recency
    from universe
    where binance_symbol like '%USDT'

)

select
    inst_id,
    crypto_id,
    binance_symbol,
    name
from ranked
where recency = 1
