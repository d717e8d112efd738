{#-
    Overrides: default__persist_docs of dbt-adapters 1.24, which dbt-postgres 1.11 uses
    (dbt-adapters/src/dbt/include/global_project/macros/adapters/persist_docs.sql).
    Reason: upstream writes every comment in every run. This macro reads the comments in one query and writes only those
    that differ.
-#}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not (for_relation and config.persist_relation_docs()) -%}
        {{- return('') -}}
    {%- endif -%}
    {%- set existing = run_query(
        "select attribute.attname, coalesce(col_description(attribute.attrelid, attribute.attnum), '') from pg_attribute"
        ~ " as attribute where attribute.attrelid = to_regclass('" ~ relation.include(database=false) ~ "')"
        ~ " and attribute.attnum > 0 and not attribute.attisdropped union all"
        ~ " select null, coalesce(obj_description(to_regclass('" ~ relation.include(database=false) ~ "'), 'pg_class'), '')"
    ) -%}
    {%- set statements = [] -%}
    {%- for name, comment in existing.rows -%}
        {%- set documented = model if name is none else model.columns.get(name, {}) -%}
        {%- set description = documented.get('description', '') -%}
        {%- if description and description != comment -%}
            {%- set target = relation.type ~ ' ' ~ relation if name is none else 'column ' ~ relation ~ '.' ~ name -%}
            {%- do statements.append('comment on ' ~ target ~ ' is ' ~ postgres_escape_comment(description)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if statements -%}
        {%- do run_query(statements | join('; ')) -%}
    {%- endif -%}
{%- endmacro %}
