{%- set first_day = first_changed_day() -%}
{%- set windows = [30, 90, 365] -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ forget_changed_days() }}",
        indexes=[{'columns': ['date']}],
    )
}}

-- the days since which an asset has returns: a window is full when the younger of a pair has that many days
with assets as (

    select
        series.crypto_id,
        first_return.date as first_date,
        row_number() over (order by series.crypto_id)::integer as number
    from {{ ref('int_series') }} as series
    cross join lateral (
        select date
        from {{ ref('int_volatility_calc') }} as daily
        where
            daily.crypto_id = series.crypto_id
            and daily.log_return is not null
        order by date
        limit 1
    ) as first_return

),

-- assets and days as numbers: a million pairs and days are sorted and framed by them, three times
returns as (

    select
        assets.number,
        assets.first_date,
        daily.date,
        daily.date - '2000-01-01'::date as day,
        {{ return_units('daily.log_return') }} as x
    from {{ ref('int_volatility_calc') }} as daily
    inner join assets on daily.crypto_id = assets.crypto_id
    where
        daily.log_return is not null
        and daily.date >= '{{ first_day }}'::date - {{ windows[-1] }}

),

squared as (

    select
        *,
        {{ product_parts('x', 'x') }}
    from returns

),

pairs as (

    select
        a.number as number_a,
        b.number as number_b,
        a.date,
        a.day,
        greatest(a.first_date, b.first_date) as first_date,
        a.x,
        b.x as y,
        a.high_x_x,
        a.mixed_x_x,
        a.low_x_x,
        b.high_x_x as high_y_y,
        b.mixed_x_x as mixed_y_y,
        b.low_x_x as low_y_y,
        {{ product_parts('a.x', 'b.x', 'x_y') }}
    from squared as a
    inner join squared as b
        on a.day = b.day
        and a.number < b.number
    -- computed once: without this Postgres repeats the products in every window that sums them
    offset 0

),

summed as (

    select
        number_a,
        number_b,
        date,
        first_date,
        {% for days in windows %}
        count(*) over last_{{ days }} as n_last_{{ days }},
        {{ exact_sum('x') }} over last_{{ days }} as x_last_{{ days }},
        {{ exact_sum('y') }} over last_{{ days }} as y_last_{{ days }},
        {{ product_sums('x', 'x', 'last_' ~ days) }},
        {{ product_sums('y', 'y', 'last_' ~ days) }},
        {{ product_sums('x', 'y', 'last_' ~ days) }}{{ ',' if not loop.last }}
        {% endfor %}
    from pairs
    window
        {% for days in windows %}
        last_{{ days }} as (
            partition by number_a, number_b order by day
            range between {{ days - 1 }} preceding and current row
        ){{ ',' if not loop.last }}
        {% endfor %}

),

-- by case and not by a row of values for each: Postgres prepares such a row's expressions anew for each pair and day
unrolled as (

    select
        summed.number_a,
        summed.number_b,
        summed.date,
        lengths.window_days,
        case lengths.window_days
            {% for days in windows %}
            when {{ days }} then {{ correlation_of('x', 'y', 'last_' ~ days) }}
            {% endfor %}
        end as correlation,
        case lengths.window_days
            {% for days in windows %}
            when {{ days }} then n_last_{{ days }}
            {% endfor %}
        end as n
    from summed
    cross join (values ({{ windows | join('), (') }})) as lengths (window_days)
    where
        summed.date - summed.first_date >= lengths.window_days - 1
        and summed.date >= '{{ first_day }}'::date

)

select
    a.crypto_id as crypto_id_a,
    b.crypto_id as crypto_id_b,
    unrolled.date,
    unrolled.window_days,
    unrolled.correlation,
    unrolled.n::integer as n,
    days.loaded_at,
    days.universe_version
from unrolled
inner join assets as a on unrolled.number_a = a.number
inner join assets as b on unrolled.number_b = b.number
inner join {{ ref('int_market_days') }} as days on unrolled.date = days.date
