{%- set first_day = first_changed_day('date', ref('int_onchain_changes')) -%}
{%- set key = ['crypto_id', 'pair', 'date', 'window_days'] -%}
{#- days of a window, and the days with both changes below which it has no correlation: 80% -#}
{%- set windows = {30: 24, 90: 72, 365: 292} -%}
{{
    config(
        materialized='incremental',
        incremental_strategy='append',
        on_schema_change='fail',
        pre_hook="{{ delete_stale_days(ref('int_onchain_changes')) }}",
        indexes=[{'columns': ['crypto_id', 'pair', 'window_days', 'date'], 'unique': true}, {'columns': ['date']}],
    )
}}

with first_days as (

    select
        crypto_id,
        pair,
        min(date) as first_date
    from {{ ref('int_onchain_changes') }}
    where
        chain_change is not null
        and market_change is not null
    group by crypto_id, pair

),

windows as (

    select
        days.crypto_id,
        days.pair,
        days.date,
        lengths.window_days,
        lengths.fewest_days,
        days.loaded_at,
        days.universe_version
    from {{ ref('int_onchain_changes') }} as days
    inner join first_days
        on days.crypto_id = first_days.crypto_id
        and days.pair = first_days.pair
        and days.date >= first_days.first_date
    cross join (
        values
        {% for days, fewest in windows.items() %}
        ({{ days }}, {{ fewest }}){{ ',' if not loop.last }}
        {% endfor %}
    ) as lengths (window_days, fewest_days)
    where days.date >= '{{ first_day }}'::date

),

-- Ranks depend on the window, so each one is read and ranked again; the cost is days times window. Ten years take 7 s;
-- a refresh computes only windows that end on or after the first changed day: none within a day, six at its end. min
-- rank + max rank is twice the mean rank of equal values, as an integer.
measured as (

    select
        windows.*,
        days_with_both.*
    from windows
    {{ each_row() }} (
        select
            {{ row_key(key) }}
            count(*)::integer as n,
            var_samp(x) as var_x,
            var_samp(y) as var_y,
            var_samp(x + y) as var_x_plus_y,
            var_samp(rank_x) as var_rank_x,
            var_samp(rank_y) as var_rank_y,
            var_samp(rank_x + rank_y) as var_rank_x_plus_y
        from (
            select
                {{ row_key(key, 'windows') }}
                chain_change as x,
                market_change as y,
                rank() over ({{ within_row(key, 'windows') }} order by chain_change)
                + count(*) over ({{ within_row(key, 'windows') }} order by chain_change) as rank_x,
                rank() over ({{ within_row(key, 'windows') }} order by market_change)
                + count(*) over ({{ within_row(key, 'windows') }} order by market_change) as rank_y
            from {{ ref('int_onchain_changes') }} as changes
            {{ beside_rows('windows', 'changes') }}
            where
                changes.crypto_id = windows.crypto_id
                and changes.pair = windows.pair
                and changes.date > windows.date - windows.window_days
                and changes.date <= windows.date
                and changes.chain_change is not null
                and changes.market_change is not null
        ) as ranked
        {{ group_by_row(key) }}
    ) as days_with_both {{ join_row(key, 'windows', 'days_with_both') }}

)

select
    crypto_id,
    pair,
    date,
    window_days,
    case when n >= fewest_days then {{ correlation('var_x', 'var_y', 'var_x_plus_y') }} end as pearson,
    case
        when n >= fewest_days then {{ correlation('var_rank_x', 'var_rank_y', 'var_rank_x_plus_y') }}
    end as spearman,
    coalesce(n, 0) as n,
    loaded_at,
    universe_version
from measured
