{#- Lower bounds of the ranges of each measure, in its unit; a range ends where the next one begins. -#}
{%- set bounds = {
    'output_btc': [0, 0.0001, 0.001, 0.01, 0.1, 1, 10, 100, 1000],
    'virtual_bytes': [0, 150, 250, 500, 1000, 2000, 5000, 10000, 50000],
    'fee_rate': [0, 1, 2, 5, 10, 20, 50, 100, 200],
} -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_changed_days(block_days(), ['loaded_at', 'day_block_count'], 'true') }}",
        indexes=[{'columns': ['date']}],
    )
}}

with days as (

    select block_days.*
    from {{ block_days() }} as block_days
    where {{ is_missing_day('block_days', 'true') }}

),

ranges as (

    select
        measure,
        range_number,
        lower_bound::numeric as lower_bound,
        upper_bound::numeric as upper_bound,
        label
    from (
        values
        {%- for measure, lower_bounds in bounds.items() %}
        {%- for lower in lower_bounds %}
        {%- set upper = 'null' if loop.last else lower_bounds[loop.index] %}
        {%- set label = 'from %s' % lower if loop.last else '%s to <%s' % (lower, upper) %}
        ('{{ measure }}', {{ loop.index }}, {{ lower }}, {{ upper }}, '{{ label }}'),
        {%- endfor %}
        {%- endfor %}
        ('fee_rate', 0, null, null, 'unknown'),
        ('type', 1, null, null, '1 input, 1 output'),
        ('type', 2, null, null, '1 input, 2 outputs'),
        ('type', 3, null, null, '2 or more inputs, 1 output'),
        ('type', 4, null, null, '2 or more inputs, 2 outputs'),
        ('type', 5, null, null, '3 or more outputs')
    ) as named (measure, range_number, lower_bound, upper_bound, label)

),

-- day by day, as in int_onchain_activity: the bounds of one day let Postgres read only its partition and pages
counted as (

    select
        days.date,
        days.loaded_at,
        days.day_block_count,
        ranges_of_day.*
    from days
    {{ each_day() }} (
        select
            {{ day_key() }}
            case
                when grouping(output_range) = 0 then 'output_btc'
                when grouping(size_range) = 0 then 'virtual_bytes'
                when grouping(fee_range) = 0 then 'fee_rate'
                else 'type'
            end as measure,
            coalesce(output_range, size_range, fee_range, type_number) as range_number,
            count(*) as transaction_count,
            sum(output_sats) as output_sats,
            sum(fee_sats) as fee_sats,
            sum(virtual_size)::bigint as virtual_bytes
        from (
            select
                {{ day_key('block_timestamp') }}
                output_sats,
                fee_sats,
                virtual_size,
                {{ range_number('output_sats / 1e8::double precision', bounds['output_btc']) }} as output_range,
                {{ range_number('virtual_size::double precision', bounds['virtual_bytes']) }} as size_range,
                coalesce(
                    {{ range_number('fee_sats::double precision / nullif(virtual_size, 0)', bounds['fee_rate']) }}, 0
                ) as fee_range,
                case when output_count > 2 then 5 else 2 * least(input_count - 1, 1) + output_count end as type_number
            from {{ ref('stg_bitcoin__transactions') }}
            where
                {{ is_this_day('block_timestamp', 'days') }}
                and not is_coinbase
            offset 0
        ) as transactions
        group by grouping sets (
            {{ sets_of_day([['output_range'], ['size_range'], ['fee_range'], ['type_number']]) }}
        )
    ) as ranges_of_day {{ join_day('days', 'ranges_of_day') }}

)

select
    'bitcoin' as crypto_id,
    counted.date,
    counted.measure,
    counted.range_number,
    ranges.label,
    ranges.lower_bound,
    ranges.upper_bound,
    counted.transaction_count,
    counted.output_sats * 0.00000001 as output_btc,
    counted.fee_sats * 0.00000001 as fee_btc,
    counted.virtual_bytes,
    counted.loaded_at,
    counted.day_block_count
from counted
inner join ranges
    on counted.measure = ranges.measure
    and counted.range_number = ranges.range_number
