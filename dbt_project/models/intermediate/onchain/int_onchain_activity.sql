{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_changed_days(block_days(), ['loaded_at', 'day_block_count']) }}",
        indexes=[{'columns': ['timeframe', 'started_at'], 'unique': true}, {'columns': ['date']}],
    )
}}

with days as (

    select block_days.*
    from {{ block_days() }} as block_days
    where {{ is_missing_day('block_days') }}

),

-- Day by day: the bounds of one day let Postgres read only its partition and pages. One sort of a day serves its four
-- timeframes (1.6 s for 1.2 million rows); a join with the timeframes takes 3.5 s.
spans as (

    select
        days.date,
        days.loaded_at,
        days.day_block_count,
        spans_of_day.*
    from days
    {{ each_day() }} (
        select
            {{ day_key() }}
            case
                when grouping(minutes_15) = 0 then '15m'
                when grouping(hour_1) = 0 then '1h'
                when grouping(hours_4) = 0 then '4h'
                else '1d'
            end as timeframe,
            coalesce(minutes_15, hour_1, hours_4, {{ utc_midnight(this_day('days')) }}) as started_at,
            count(*) filter (where not is_coinbase) as transaction_count,
            count(*) filter (where is_coinbase) as coinbase_count,
            sum(output_sats) filter (where not is_coinbase) as output_sats,
            sum(fee_sats) as fee_sats,
            count(*) filter (where not is_coinbase and fee_sats is null) as unknown_fee_count,
            sum(virtual_size) filter (where not is_coinbase) as virtual_bytes,
            percentile_cont(0.5) within group (order by fee_rate) as median_fee_rate,
            percentile_cont(0.9) within group (order by fee_rate) as p90_fee_rate
        from (
            select
                {{ day_key('block_timestamp') }}
                {{ utc_span(15, 'block_timestamp') }} as minutes_15,
                {{ utc_span(60, 'block_timestamp') }} as hour_1,
                {{ utc_span(240, 'block_timestamp') }} as hours_4,
                is_coinbase,
                output_sats,
                fee_sats,
                virtual_size,
                fee_sats::double precision / nullif(virtual_size, 0) as fee_rate
            from {{ ref('stg_bitcoin__transactions') }}
            where
                {{ is_this_day('block_timestamp', 'days') }}
            offset 0
        ) as transactions
        group by grouping sets (
            {{ sets_of_day([[], ['hours_4'], ['hours_4', 'hour_1'], ['hours_4', 'hour_1', 'minutes_15']]) }}
        )
        having count(*) > 0
    ) as spans_of_day {{ join_day('days', 'spans_of_day') }}

),

blocks as (

    select
        timeframes.timeframe,
        {{ utc_span('timeframes.minutes', 'blocks.block_timestamp') }} as started_at,
        count(*)::integer as block_count
    from {{ ref('stg_bitcoin__blocks') }} as blocks
    cross join (values ('15m', 15), ('1h', 60), ('4h', 240), ('1d', 1440)) as timeframes (timeframe, minutes)
    where blocks.date in (select days.date from days)
    group by timeframes.timeframe, started_at

)

select
    'bitcoin' as crypto_id,
    spans.timeframe,
    spans.started_at,
    spans.date,
    spans.transaction_count,
    spans.coinbase_count,
    blocks.block_count,
    coalesce(spans.output_sats, 0) * 0.00000001 as output_btc,
    spans.fee_sats * 0.00000001 as fee_btc,
    spans.unknown_fee_count,
    coalesce(spans.virtual_bytes, 0)::bigint as virtual_bytes,
    spans.median_fee_rate,
    spans.p90_fee_rate,
    spans.loaded_at,
    spans.day_block_count
from spans
inner join blocks
    on spans.timeframe = blocks.timeframe
    and spans.started_at = blocks.started_at
