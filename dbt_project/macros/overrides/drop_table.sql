{#-
    Overrides: postgres__drop_table of dbt-postgres 1.11
    (dbt-postgres/src/dbt/include/postgres/macros/relations/table/drop.sql).
    Reason: upstream drops with cascade, which also drops every view that reads the table. See
    macros/dialect/deferred_drops.sql.
-#}
{% macro postgres__drop_table(relation) -%}
    {{ drop_or_defer(relation, 'table') }}
{%- endmacro %}
