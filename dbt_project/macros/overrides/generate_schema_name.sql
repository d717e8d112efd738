{#-
    Overrides: default__generate_schema_name of dbt-adapters 1.24
    (dbt-adapters/src/dbt/include/global_project/macros/get_custom_name/get_custom_schema.sql).
    Reason: a layer is a schema of exactly that name. Environments differ by database, so no prefix is needed.
-#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name | trim if custom_schema_name else target.schema }}
{%- endmacro %}
