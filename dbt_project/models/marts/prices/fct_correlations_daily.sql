{%- set first_day = first_changed_day() -%}
{%- set windows = [30, 90, 365] -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_stale_days() }}",
        indexes=[{'columns': ['date']}],
    )
}}

-- the first return of each asset: a window is full when the younger asset of a pair is that old
with assets as (

    select
        crypto_id,
        first_date,
        row_number() over (order by crypto_id)::integer as number
    from (
        select
            series.crypto_id,
            (
                select min(daily.date)
                from {{ ref('int_volatility_calc') }} as daily
                where
                    daily.crypto_id = series.crypto_id
                    and daily.log_return is not null
            ) as first_date
        from {{ ref('int_asset_watermarks') }} as series
    ) as first_returns
    where first_date is not null

),

-- assets and days as integers, because a million pairs and days are sorted by them
returns as (

    select
        assets.number,
        assets.first_date,
        daily.date,
        {{ days_since('daily.date', "'2000-01-01'::date") }} as day,
        daily.log_return::numeric(18, 15) as log_return
    from {{ ref('int_volatility_calc') }} as daily
    inner join assets on daily.crypto_id = assets.crypto_id
    where
        daily.log_return is not null
        and daily.date >= '{{ first_day }}'::date - {{ windows[-1] }}

),

pairs as (

    select
        a.number as number_a,
        b.number as number_b,
        a.date,
        a.day,
        greatest(a.first_date, b.first_date) as first_date,
        a.log_return as x,
        b.log_return as y,
        a.log_return + b.log_return as x_plus_y
    from returns as a
    inner join returns as b
        on a.day = b.day
        and a.number < b.number
    -- without this, Postgres repeats the sum in every window
    offset 0

),

-- Postgres slides var_samp over decimals, and the result is exact: independent of the first row read. corr() over
-- double precision would read each frame of up to 365 rows again. 25 assets and three years (300 pairs) take 6.9 s of
-- CPU; fixed-point sums in bigint took 4.8 s.
windowed as (

    select
        number_a,
        number_b,
        date,
        first_date,
        {% for days in windows %}
        count(*) over last_{{ days }} as n_{{ days }},
        var_samp(x) over last_{{ days }} as var_x_{{ days }},
        var_samp(y) over last_{{ days }} as var_y_{{ days }},
        var_samp(x_plus_y) over last_{{ days }} as var_x_plus_y_{{ days }}{{ ',' if not loop.last }}
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

-- one row per window; with a lateral list of three rows, Postgres sets up the expressions again for each pair and day
unrolled as (

    select
        windowed.number_a,
        windowed.number_b,
        windowed.date,
        lengths.window_days,
        case lengths.window_days
            {% for days in windows %}
            when {{ days }} then {{ correlation('var_x_' ~ days, 'var_y_' ~ days, 'var_x_plus_y_' ~ days) }}
            {% endfor %}
        end as correlation,
        case lengths.window_days
            {% for days in windows %}
            when {{ days }} then n_{{ days }}
            {% endfor %}
        end as n
    from windowed
    cross join (values ({{ windows | join('), (') }})) as lengths (window_days)
    where
        {{ days_since('windowed.date', 'windowed.first_date') }} >= lengths.window_days - 1
        and windowed.date >= '{{ first_day }}'::date

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
inner join {{ ref('int_day_watermarks') }} as days on unrolled.date = days.date
