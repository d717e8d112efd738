{#-
    Overrides: postgres__drop_view of dbt-postgres 1.11
    (dbt-postgres/src/dbt/include/postgres/macros/relations/view/drop.sql).
    Reason: upstream drops with cascade, which also drops every view that reads the view. See
    macros/dialect/deferred_drops.sql.
-#}
{% macro postgres__drop_view(relation) -%}
    {{ drop_or_defer(relation, 'view') }}
{%- endmacro %}
