{#-
    Overrides: default__create_indexes of dbt-adapters 1.24, which dbt-postgres 1.11 uses
    (dbt-adapters/src/dbt/include/global_project/macros/adapters/indexes.sql).
    Reason: adds the primary key that get_table_columns_and_constraints.sql leaves out.
-#}
{% macro postgres__create_indexes(relation) -%}
    {{- default__create_indexes(relation) -}}
    {%- if config.get('contract').enforced -%}
        {%- for constraint in model['constraints'] if constraint['type'] == 'primary_key' -%}
            {%- do run_query('alter table ' ~ relation ~ ' add primary key (' ~ constraint['columns'] | join(', ') ~ ')') -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
