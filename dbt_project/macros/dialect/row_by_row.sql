{#-
    An aggregate over the rows that belong to each row of a relation. Postgres reads them row by row of the relation, by
    index; Spark joins both and groups by the key. A model writes

        from <rows> {{ each_row() }} (
            select {{ row_key(key) }} <aggregates>
            from (
                select {{ row_key(key, '<rows>') }} rank() over ({{ within_row(key, '<rows>') }} order by ...)
                from ... as <others> {{ beside_rows('<rows>', '<others>') }} where <conditions on both>
            ) {{ group_by_row(key) }}
        ) as <result> {{ join_row(key, '<rows>', '<result>') }}

    The rows of Spark's relation have a date and window_days: they are joined by each day of the window, because a join by a
    range compares every pair. A row without any has no aggregate on Spark: its count is null there and 0 in Postgres.
-#}

{% macro each_row() -%} {{ return(adapter.dispatch('each_row')()) }} {%- endmacro %}

{% macro postgres__each_row() -%} cross join lateral {%- endmacro %}

{% macro spark__each_row() -%} left join {%- endmacro %}

{% macro row_key(key, rows=none) -%} {{ return(adapter.dispatch('row_key')(key, rows)) }} {%- endmacro %}

{% macro postgres__row_key(key, rows) -%}{%- endmacro %}

{% macro spark__row_key(key, rows) -%}
    {%- for column in key -%} {% if rows %}{{ rows }}.{{ column }} as {% endif %}of_{{ column }}, {% endfor -%}
{%- endmacro %}

{% macro within_row(key, rows) -%} {{ return(adapter.dispatch('within_row')(key, rows)) }} {%- endmacro %}

{% macro postgres__within_row(key, rows) -%}{%- endmacro %}

{% macro spark__within_row(key, rows) -%}
    partition by {% for column in key %}{{ rows }}.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro beside_rows(rows, others) -%} {{ return(adapter.dispatch('beside_rows')(rows, others)) }} {%- endmacro %}

{% macro postgres__beside_rows(rows, others) -%}{%- endmacro %}

{% macro spark__beside_rows(rows, others) -%}
    inner join (
        select *, explode(sequence(date_sub(date, window_days - 1), date)) as day_of_window from {{ rows }}
    ) as {{ rows }} on {{ others }}.date = {{ rows }}.day_of_window
{%- endmacro %}

{% macro group_by_row(key) -%} {{ return(adapter.dispatch('group_by_row')(key)) }} {%- endmacro %}

{% macro postgres__group_by_row(key) -%}{%- endmacro %}

{% macro spark__group_by_row(key) -%} group by of_{{ key | join(', of_') }} {%- endmacro %}

{% macro join_row(key, rows, result) -%} {{ return(adapter.dispatch('join_row')(key, rows, result)) }} {%- endmacro %}

{% macro postgres__join_row(key, rows, result) -%}{%- endmacro %}

{% macro spark__join_row(key, rows, result) -%}
    on {% for column in key -%}
        {{ rows }}.{{ column }} = {{ result }}.of_{{ column }}{{ ' and ' if not loop.last }}
    {%- endfor %}
{%- endmacro %}
