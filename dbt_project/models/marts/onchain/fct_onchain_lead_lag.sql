{%- set first_day = first_changed_day('as_of_date', ref('int_onchain_changes')) -%}
{%- set longest_lag = 14 -%}
{#- Changes over seven days overlap for seven days, and what remains of the weekly cycle fades within a month. -#}
{%- set longest_distance = 30 -%}
{%- set fewest_days = 60 -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_if_a_day_changed('as_of_date', ref('int_onchain_changes')) }}",
    )
}}

with series as (

    select
        crypto_id,
        pair,
        date,
        chain_change as x,
        market_change as y
    from {{ ref('int_onchain_changes') }}
    where
        chain_change is not null
        and market_change is not null
        and '{{ first_day }}'::date < 'infinity'::date

),

-- the newest row of the input has the newest load and says whether the rows here are still current
newest as (

    select
        crypto_id,
        max(date) as as_of_date,
        max(loaded_at) as loaded_at,
        max(universe_version) as universe_version
    from {{ ref('int_onchain_changes') }}
    group by crypto_id

),

ranges as (

    select
        crypto_id,
        pair,
        min(date) as first_date,
        max(date) as last_date
    from series
    group by crypto_id, pair

),

shifted as (

    select
        chain.*,
        lags.lag_days,
        chain.date + lags.lag_days as shifted_date
    from series as chain
    cross join (
        values
        {% for lag in range(-longest_lag, longest_lag + 1) %}
        ({{ lag }}){{ ',' if not loop.last }}
        {% endfor %}
    ) as lags (lag_days)

),

-- r(k): the chain's change of a day beside the market's change k days later
lagged as (

    select
        chain.crypto_id,
        chain.pair,
        chain.lag_days,
        count(*)::integer as n,
        var_samp(chain.x) as var_x,
        var_samp(market.y) as var_y,
        var_samp(chain.x + market.y) as var_x_plus_y
    from shifted as chain
    inner join series as market
        on chain.crypto_id = market.crypto_id
        and chain.pair = market.pair
        and chain.shifted_date = market.date
    group by chain.crypto_id, chain.pair, chain.lag_days

),

distant as (

    select
        earlier.*,
        distances.distance,
        earlier.date + distances.distance as later_date
    from series as earlier
    cross join (
        values
        {% for distance in range(1, longest_distance + 1) %}
        ({{ distance }}){{ ',' if not loop.last }}
        {% endfor %}
    ) as distances (distance)

),

-- each series beside itself, a number of days apart
apart as (

    select
        earlier.crypto_id,
        earlier.pair,
        earlier.distance,
        var_samp(earlier.x) as var_x,
        var_samp(later.x) as var_later_x,
        var_samp(earlier.x + later.x) as var_x_plus_x,
        var_samp(earlier.y) as var_y,
        var_samp(later.y) as var_later_y,
        var_samp(earlier.y + later.y) as var_y_plus_y
    from distant as earlier
    inner join series as later
        on earlier.crypto_id = later.crypto_id
        and earlier.pair = later.pair
        and earlier.later_date = later.date
    group by earlier.crypto_id, earlier.pair, earlier.distance

),

autocorrelations as (

    select
        crypto_id,
        pair,
        distance,
        {{ correlation('var_x', 'var_later_x', 'var_x_plus_x') }} as rho_x,
        {{ correlation('var_y', 'var_later_y', 'var_y_plus_y') }} as rho_y
    from apart

),

-- Bartlett's variance of the cross-correlation of two independent series, times n: the sum of rho_x(v) * rho_y(v) over
-- all v (M. S. Bartlett, Journal of the Royal Statistical Society 98, 1935, p. 536; P. J. Brockwell and R. A. Davis,
-- Time Series: Theory and Methods, 1991, theorem 11.2.2). At least 1: a band is never narrower than without it.
inflation as (

    select
        crypto_id,
        pair,
        greatest(1, 1 + 2 * sum((rho_x * rho_y)::numeric)) as variance_factor
    from autocorrelations
    group by crypto_id, pair

)

select
    lagged.crypto_id,
    lagged.pair,
    lagged.lag_days,
    case
        when lagged.n >= {{ fewest_days }} then {{ correlation('var_x', 'var_y', 'var_x_plus_y') }}
    end as correlation,
    case
        when lagged.n >= {{ fewest_days }}
            then least(1, 1.96 * sqrt(coalesce(inflation.variance_factor, 1)::double precision / lagged.n))
    end as band_95,
    lagged.n,
    ranges.first_date,
    ranges.last_date,
    newest.as_of_date,
    newest.loaded_at,
    newest.universe_version
from lagged
inner join ranges
    on lagged.crypto_id = ranges.crypto_id
    and lagged.pair = ranges.pair
inner join newest on lagged.crypto_id = newest.crypto_id
left join inflation
    on lagged.crypto_id = inflation.crypto_id
    and lagged.pair = inflation.pair
