{#-
    The queries that dbt runs while it compiles a model, all in this file. Their results become literals in the SQL. With a
    literal, Postgres sees that almost no row is newer and uses the index; with a subquery it assumes a third of the table
    and reads all of it (3.5 million correlations and millions of bars, each hour). On a full refresh, and without a
    connection, they return '-infinity' and no query runs.
-#}

{#- The newest load in a relation or subquery (by default this model), as a literal; '-infinity' if it is empty. -#}
{% macro newest_load(relation=none) -%}
    {{- return(_load_literal('max', relation or this)) -}}
{%- endmacro %}

{#- The oldest of the watermarks of this model's assets, as a literal: a lower bound of what can be new. -#}
{% macro oldest_watermark(instant='opened_at') -%}
    {{- return(_load_literal('min', newest_row_per_asset(this, instant) ~ ' as newest')) -}}
{%- endmacro %}

{% macro _load_literal(aggregate, relation) -%}
    {%- if not execute -%}
        {{- return('-infinity') -}}
    {%- endif -%}
    {%- set found = run_query(
        "select to_char(" ~ aggregate ~ "(loaded_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') from " ~ relation
    ) -%}
    {{- return(found.rows[0][0] or '-infinity') -}}
{%- endmacro %}

{#-
    The first day that this model must write again, as a literal: 'infinity' if there is none, '-infinity' if all. A day has
    changed when `watermarks` (date, loaded_at, universe_version; by default int_day_watermarks) has a newer load or another
    universe fingerprint than this model's newest row.
-#}
{% macro first_changed_day(date_column='date', watermarks=none) -%}
    {%- if not (execute and is_incremental()) -%}
        {{- return('-infinity') -}}
    {%- endif -%}
    {%- set found = run_query(
        "select to_char(min(days.date), 'YYYY-MM-DD'), count(built.loaded_at) > 0"
        ~ " from (select 1) as always"
        ~ " left join (select " ~ date_column ~ " as date, loaded_at, universe_version from " ~ this
        ~ " order by " ~ date_column ~ " desc limit 1) as built on true"
        ~ " left join " ~ (watermarks or ref('int_day_watermarks')) ~ " as days"
        ~ " on days.loaded_at > built.loaded_at or days.date > built.date"
        ~ " or days.universe_version <> built.universe_version"
    ) -%}
    {%- if not found.rows[0][1] -%}
        {{- return('-infinity') -}}
    {%- endif -%}
    {{- return(found.rows[0][0] or 'infinity') -}}
{%- endmacro %}

{#-
    The UTC days of 1m and 15m bars that were loaded since this model was built, as a list of texts. None means all days: on
    a full refresh, for an empty model, and after a change of the universe.
-#}
{% macro changed_intraday_days() -%}
    {%- if not (execute and is_incremental()) -%}
        {{- return(none) -}}
    {%- endif -%}
    {%- set built = run_query(
        "select (select universe_version from " ~ this ~ " limit 1) = (select " ~ whole_universe_fingerprint()
        ~ " from " ~ ref('stg_tickmart__universe') ~ ")"
    ) -%}
    {%- if not built.rows[0][0] -%}
        {{- return(none) -}}
    {%- endif -%}
    {%- set days = run_query(
        "select distinct to_char(" ~ utc_date('opened_at') ~ ", 'YYYY-MM-DD') from " ~ ref('stg_binance__ohlcv')
        ~ " where bar_interval in ('15m', '1m') and loaded_at > '" ~ newest_load() ~ "'::timestamptz order by 1"
    ) -%}
    {{- return(days.columns[0].values() | list) -}}
{%- endmacro %}
