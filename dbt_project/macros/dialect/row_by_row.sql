{#-
    An aggregate over the rows that belong to each row of a relation. Postgres reads them row by row of the relation, by
    index; Spark joins both and groups by the key. A model writes

        from <rows> {{ each_row() }} (
            select {{ row_key(key) }} <aggregates>
            from (
                select {{ row_key(key, '<rows>') }} rank() over ({{ within_row(key, '<rows>') }} order by ...)
                from ... {{ beside_rows('<rows>') }} where <conditions on both>
            ) {{ group_by_row(key) }}
        ) as <result> {{ join_row(key, '<rows>', '<result>') }}

    A row without any has no aggregate on Spark: its count is null there and 0 in Postgres.
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

{% macro beside_rows(rows) -%} {{ return(adapter.dispatch('beside_rows')(rows)) }} {%- endmacro %}

{% macro postgres__beside_rows(rows) -%}{%- endmacro %}

{% macro spark__beside_rows(rows) -%} cross join {{ rows }} {%- endmacro %}

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
