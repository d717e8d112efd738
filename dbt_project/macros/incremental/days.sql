{#-
    Which rows an incremental model writes again, by day, for models whose rows of a day depend on more than one asset.
    int_day_watermarks has, for each day, the newest load that any row up to it depends on, and the fingerprint of the
    universe. Such a model copies both into every row, so its newest row says what it was built from. Its query starts at
    first_changed_day (watermarks.sql); its pre-hook deletes the same rows.
-#}

{#- Pre-hook: delete the days from first_changed_day on. -#}
{% macro delete_stale_days(watermarks=none) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where date >= '{{ first_changed_day('date', watermarks) }}'::date
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook of fct_candles: delete the candles that contain a changed day. -#}
{% macro delete_stale_candles() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where started_on >= {{ timeframe_start('timeframe', first_changed_day('last_date')) }}
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook of a small mart that views read: empty it in place. A new table would drop the views on the old one. -#}
{% macro delete_all_rows() -%}
    {%- if is_incremental() -%} delete from {{ this }} {%- endif -%}
{%- endmacro %}

{#- Pre-hook of fct_onchain_lead_lag, whose rows depend on all days: delete all if a day changed. -#}
{% macro delete_if_a_day_changed(date_column, watermarks) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where '{{ first_changed_day(date_column, watermarks) }}'::date < 'infinity'::date
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook of fct_candles_intraday: delete the days that it writes again. -#}
{% macro delete_changed_intraday_days() -%}
    {%- set days = changed_intraday_days() -%}
    {%- if is_incremental() and days is none -%}
        delete from {{ this }}
    {%- elif days -%}
        delete from {{ this }} where date in ('{{ days | join("', '") }}')
    {%- endif -%}
{%- endmacro %}

{#- Condition: an instant lies on one of the days of a list, which is ordered; any instant if the list is none. -#}
{% macro is_on_days(instant, days) -%}
    {%- if days is none -%}
        true
    {%- elif days -%}
        {{ instant }} >= {{ utc_midnight("'" ~ days[0] ~ "'::date") }}
        and {{ instant }} < {{ utc_midnight("'" ~ days[-1] ~ "'::date + 1") }}
        and {{ utc_date(instant) }} in ('{{ days | join("', '") }}')
    {%- else -%}
        false
    {%- endif -%}
{%- endmacro %}
