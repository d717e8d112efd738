{#-
    A query of a large table for each of some days. Postgres runs it day by day: the bounds of one day let it read only its
    partition and pages. Spark reads the table once and groups it by day, too. A model writes

        from <days> {{ each_day() }} (
            select {{ day_key() }} ... {{ this_day('<days>') }} ...
            from (select {{ day_key('<instant>') }} ... from ... where {{ is_this_day('<instant>', '<days>') }})
            group by grouping sets ({{ sets_of_day([...]) }})
        ) as <result> {{ join_day('<days>', '<result>') }}
-#}

{% macro each_day() -%} {{ return(adapter.dispatch('each_day')()) }} {%- endmacro %}

{% macro postgres__each_day() -%} cross join lateral {%- endmacro %}

{% macro spark__each_day() -%} inner join {%- endmacro %}

{#- The day as a column of the inner queries, where the engine needs it: made of an instant, or passed on. -#}
{% macro day_key(instant=none) -%} {{ return(adapter.dispatch('day_key')(instant)) }} {%- endmacro %}

{% macro postgres__day_key(instant) -%}{%- endmacro %}

{% macro spark__day_key(instant) -%}
    {%- if instant %}{{ utc_date(instant) }} as {% endif -%} of_day,
{%- endmacro %}

{#- The day that an inner query is about. -#}
{% macro this_day(days) -%} {{ return(adapter.dispatch('this_day')(days)) }} {%- endmacro %}

{% macro postgres__this_day(days) -%} {{ days }}.date {%- endmacro %}

{% macro spark__this_day(days) -%} of_day {%- endmacro %}

{#- Condition: an instant lies on the day. -#}
{% macro is_this_day(instant, days) -%} {{ return(adapter.dispatch('is_this_day')(instant, days)) }} {%- endmacro %}

{% macro postgres__is_this_day(instant, days) -%}
    {{ instant }} >= {{ utc_midnight(days ~ '.date') }}
    and {{ instant }} < {{ utc_midnight(days ~ '.date + 1') }}
{%- endmacro %}

{% macro spark__is_this_day(instant, days) -%} true {%- endmacro %}

{#- Grouping sets of one day, from lists of columns. -#}
{% macro sets_of_day(sets) -%} {{ return(adapter.dispatch('sets_of_day')(sets)) }} {%- endmacro %}

{% macro postgres__sets_of_day(sets) -%}
    {%- for columns in sets -%} ({{ columns | join(', ') }}){{ ', ' if not loop.last }} {%- endfor -%}
{%- endmacro %}

{% macro spark__sets_of_day(sets) -%}
    {%- for columns in sets -%} ({{ (['of_day'] + columns) | join(', ') }}){{ ', ' if not loop.last }} {%- endfor -%}
{%- endmacro %}

{% macro join_day(days, result) -%} {{ return(adapter.dispatch('join_day')(days, result)) }} {%- endmacro %}

{% macro postgres__join_day(days, result) -%}{%- endmacro %}

{% macro spark__join_day(days, result) -%} on {{ days }}.date = {{ result }}.of_day {%- endmacro %}
