{#-
    Dates, instants and window frames, as Postgres writes them. Models call the first macro of each pair; a port to another
    engine adds one implementation. No macro here depends on the session's time zone.
-#}

{#- The UTC calendar day of an instant. -#}
{% macro utc_date(instant) -%}
    {{ return(adapter.dispatch('utc_date')(instant)) }}
{%- endmacro %}

{% macro postgres__utc_date(instant) -%}
    (({{ instant }}) at time zone 'UTC')::date
{%- endmacro %}

{#- The instant at which a UTC calendar day begins. -#}
{% macro utc_midnight(date) -%}
    {{ return(adapter.dispatch('utc_midnight')(date)) }}
{%- endmacro %}

{% macro postgres__utc_midnight(date) -%}
    (({{ date }})::timestamp at time zone 'UTC')
{%- endmacro %}

{#- The start of the UTC hour of an instant. Some zones are half an hour off UTC, so the session's hour can differ. -#}
{% macro utc_hour(instant) -%}
    {{ return(adapter.dispatch('utc_hour')(instant)) }}
{%- endmacro %}

{% macro postgres__utc_hour(instant) -%}
    date_trunc('hour', {{ instant }}, 'UTC')
{%- endmacro %}

{#- The start of the span of so many minutes, counted from 00:00 UTC, that contains an instant. The minutes divide a day. -#}
{% macro utc_span(minutes, instant) -%}
    {{ return(adapter.dispatch('utc_span')(minutes, instant)) }}
{%- endmacro %}

{% macro postgres__utc_span(minutes, instant) -%}
    date_bin(make_interval(mins => {{ minutes }}), {{ instant }}, '2000-01-01 00:00:00+00'::timestamptz)
{%- endmacro %}

{#- An interval of hours. Never use days: a day of a session in New York can have 23 or 25 hours. -#}
{% macro hours(count) -%}
    {{ return(adapter.dispatch('hours')(count)) }}
{%- endmacro %}

{% macro postgres__hours(count) -%}
    interval '{{ count }} hours'
{%- endmacro %}

{#- An interval of minutes. -#}
{% macro minutes(count) -%}
    {{ return(adapter.dispatch('minutes')(count)) }}
{%- endmacro %}

{% macro postgres__minutes(count) -%}
    interval '{{ count }} minutes'
{%- endmacro %}

{#- Window frame (t - hours, t] over an ordering by instant. A missing bar does not extend it. -#}
{% macro trailing_hours(count) -%}
    {{ return(adapter.dispatch('trailing_hours')(count)) }}
{%- endmacro %}

{% macro postgres__trailing_hours(count) -%}
    range between interval '{{ count - 1 }} hours 59 minutes 59.999999 seconds' preceding and current row
{%- endmacro %}

{#- Order and frame of a window: the last `count` days by a date. -#}
{% macro trailing_days(date, count) -%}
    {{ return(adapter.dispatch('trailing_days')(date, count)) }}
{%- endmacro %}

{% macro postgres__trailing_days(date, count) -%}
    order by {{ date }} range between interval '{{ count - 1 }} days' preceding and current row
{%- endmacro %}

{#- Window frame of the row exactly `count` hours earlier; empty if there is none. -#}
{% macro hours_earlier(count) -%}
    {{ return(adapter.dispatch('hours_earlier')(count)) }}
{%- endmacro %}

{% macro postgres__hours_earlier(count) -%}
    range between interval '{{ count }} hours' preceding and interval '{{ count }} hours' preceding
{%- endmacro %}

{#- Query with one column, date: every day from the first to the last. -#}
{% macro days_between(first, last) -%}
    {{ return(adapter.dispatch('days_between')(first, last)) }}
{%- endmacro %}

{% macro postgres__days_between(first, last) -%}
    select generate_series('{{ first }}'::timestamp, '{{ last }}'::timestamp, '1 day')::date as date
{%- endmacro %}

{#- Query with one column, minute: the present UTC minute and `count` before it. -#}
{% macro recent_minutes(count) -%}
    {{ return(adapter.dispatch('recent_minutes')(count)) }}
{%- endmacro %}

{% macro postgres__recent_minutes(count) -%}
    select {{ utc_span(1, 'current_timestamp') }} - minutes_ago * {{ minutes(1) }} as minute
    from generate_series(0, {{ count }}) as ago (minutes_ago)
{%- endmacro %}

{#- First day of the week or month, as the timeframe says, of a day. -#}
{% macro start_of(timeframe, date) -%}
    {{ return(adapter.dispatch('start_of')(timeframe, date)) }}
{%- endmacro %}

{% macro postgres__start_of(timeframe, date) -%}
    date_trunc({{ timeframe }}, {{ date }}::timestamp)::date
{%- endmacro %}

{#- The number of days from a first day to a day. -#}
{% macro days_since(date, first) -%}
    {{ return(adapter.dispatch('days_since')(date, first)) }}
{%- endmacro %}

{% macro postgres__days_since(date, first) -%}
    {{ date }} - {{ first }}
{%- endmacro %}

{#- A day as the text YYYYMMDD. -#}
{% macro text_of_day(date) -%}
    {{ return(adapter.dispatch('text_of_day')(date)) }}
{%- endmacro %}

{% macro postgres__text_of_day(date) -%}
    to_char({{ date }}, 'YYYYMMDD')
{%- endmacro %}

{#- The same for a literal, which can be infinite. -#}
{% macro timeframe_start(timeframe, day) -%}
    {%- if day in ('infinity', '-infinity') -%}
        '{{ day }}'::date
    {%- else -%}
        {{ start_of(timeframe, "'" ~ day ~ "'") }}
    {%- endif -%}
{%- endmacro %}
