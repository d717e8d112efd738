{#-
    Overrides: postgres__get_relations of dbt-postgres 1.11
    (dbt-postgres/src/dbt/include/postgres/macros/relations.sql).
    Reason: upstream returns which view reads which relation, so that the cache removes the views that drop ... cascade
    takes along. Our drops do not cascade, so this returns no rows: (schema, name, schema read, name read).
-#}
{% macro postgres__get_relations() -%}
    {%- call statement('relations', fetch_result=True) -%}
        select
            null::text,
            null::text,
            null::text,
            null::text
        where false
    {%- endcall -%}
    {{- return(load_result('relations').table) -}}
{%- endmacro %}
