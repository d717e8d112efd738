{#-
    Which days an incremental model writes again when its inputs have no watermark that only grows: a replaced day of blocks
    can lose rows. Each row carries the state of its day; a day is written again when its state differs from the inputs'.
    A pre-hook deletes these days, and the model then writes the days that it lacks.
-#}

{#-
    Pre-hook: delete the days whose state differs from `current`, a subquery with date and the columns of `state`.
    `of_a_day` is a condition that few rows of each written day meet.
-#}
{% macro delete_changed_days(current, state, of_a_day="timeframe = '1d'") -%}
    {%- if is_incremental() -%}
        {%- set columns = state | join(', ') -%}
        delete from {{ this }}
        where date in (
            select written.date
            from (select distinct date, {{ columns }} from {{ this }} where {{ of_a_day }}) as written
            left join {{ current }} as current_days on written.date = current_days.date
            where
                current_days.date is null
                {%- for column in state %}
                or written.{{ column }} is distinct from current_days.{{ column }}
                {%- endfor %}
        )
    {%- endif -%}
{%- endmacro %}

{#- Condition: the model lacks a day, of the relation `days`. -#}
{% macro is_missing_day(days, of_a_day="timeframe = '1d'") -%}
    {%- if is_incremental() -%}
        not exists (
            select 1 from {{ this }} as written
            where written.date = {{ days }}.date and {{ of_a_day }}
        )
    {%- else -%}
        true
    {%- endif -%}
{%- endmacro %}

{#- Subquery: the state of each day of blocks. -#}
{% macro block_days() -%}
    (
        select
            date,
            max(loaded_at) as loaded_at,
            count(*)::integer as day_block_count
        from {{ ref('stg_bitcoin__blocks') }}
        group by date
    )
{%- endmacro %}

{#- Subquery: the state of each day of on-chain activity, of bitcoin's hourly bars and of its 15m candles. -#}
{% macro activity_days() -%}
    (
        select
            activity.date,
            activity.loaded_at,
            activity.day_block_count,
            bars.market_loaded_at,
            coalesce(bars.day_bar_count, 0) as day_bar_count,
            quarters.intraday_loaded_at,
            coalesce(quarters.day_quarter_count, 0) as day_quarter_count
        from {{ ref('int_onchain_activity') }} as activity
        left join (
            select
                {{ utc_date('opened_at') }} as date,
                max(loaded_at) as market_loaded_at,
                (count(*) filter (where invalid_reason is null))::integer as day_bar_count
            from {{ ref('int_crypto_hourly') }}
            where crypto_id = 'bitcoin'
            group by 1
        ) as bars on activity.date = bars.date
        left join (
            select
                date,
                max(loaded_at) as intraday_loaded_at,
                count(*)::integer as day_quarter_count
            from {{ ref('fct_candles_intraday') }}
            where crypto_id = 'bitcoin' and timeframe = '15m'
            group by date
        ) as quarters on activity.date = quarters.date
        where activity.timeframe = '1d'
    )
{%- endmacro %}
