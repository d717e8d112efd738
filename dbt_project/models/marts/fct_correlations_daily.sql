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

with returns as (

    select
        crypto_id,
        date,
        {{ return_units('log_return') }} as return_units
    from {{ ref('int_volatility_calc') }}
    where
        log_return is not null
        and date >= '{{ first_day }}'::date - {{ windows[-1] }}

),

-- the days since which an asset has returns: a window is full when the younger of a pair has that many days
first_returns as (

    select
        crypto_id,
        first_return.date as first_date
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

pairs as (

    select
        a.crypto_id as crypto_id_a,
        b.crypto_id as crypto_id_b,
        a.date,
        a.return_units as x,
        b.return_units as y,
        greatest(first_a.first_date, first_b.first_date) as first_date
    from returns as a
    inner join returns as b
        on a.date = b.date
        and a.crypto_id < b.crypto_id
    inner join first_returns as first_a on a.crypto_id = first_a.crypto_id
    inner join first_returns as first_b on b.crypto_id = first_b.crypto_id

),

summed as (

    select
        crypto_id_a,
        crypto_id_b,
        date,
        first_date,
        {% for days in windows %}
        count(*) over last_{{ days }} as n_{{ days }},
        {{ exact_sum('x') }} over last_{{ days }} as x_{{ days }},
        {{ exact_sum('y') }} over last_{{ days }} as y_{{ days }},
        {{ product_sums('x', 'x', 'last_' ~ days) }},
        {{ product_sums('y', 'y', 'last_' ~ days) }},
        {{ product_sums('x', 'y', 'last_' ~ days) }}{{ ',' if not loop.last }}
        {% endfor %}
    from pairs
    window
        {% for days in windows %}
        last_{{ days }} as (
            partition by crypto_id_a, crypto_id_b order by date
            {{ trailing_days(days) }}
        ){{ ',' if not loop.last }}
        {% endfor %}

),

unrolled as (

    {% for days in windows %}
    select
        crypto_id_a,
        crypto_id_b,
        date,
        {{ days }} as window_days,
        n_{{ days }} * {{ sum_of_products('x', 'y', 'last_' ~ days) }}
        - x_{{ days }}::double precision * y_{{ days }} as covariation,
        n_{{ days }} * {{ sum_of_products('x', 'x', 'last_' ~ days) }}
        - x_{{ days }}::double precision * x_{{ days }} as variation_a,
        n_{{ days }} * {{ sum_of_products('y', 'y', 'last_' ~ days) }}
        - y_{{ days }}::double precision * y_{{ days }} as variation_b,
        n_{{ days }} as n
    from summed
    where date - first_date >= {{ days - 1 }}
    {{ 'union all' if not loop.last }}
    {% endfor %}

)

select
    unrolled.crypto_id_a,
    unrolled.crypto_id_b,
    unrolled.date,
    unrolled.window_days,
    case
        when unrolled.variation_a > 0 and unrolled.variation_b > 0
            then unrolled.covariation / sqrt(unrolled.variation_a * unrolled.variation_b)
    end as correlation,
    unrolled.n::integer as n,
    days.loaded_at,
    days.universe_version
from unrolled
inner join {{ ref('int_market_days') }} as days on unrolled.date = days.date
where unrolled.date >= '{{ first_day }}'::date
