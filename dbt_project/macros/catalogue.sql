{#-
    What dbt asks the catalogue of each model, in each run. Its own questions go through information_schema, whose views
    join a dozen tables (20 to 40 ms each, six of them a model); these read pg_catalog directly, and write only what differs.
-#}

{% macro postgres__get_columns_in_relation(relation) -%}
    {%- call statement('get_columns_in_relation', fetch_result=True) %}
        select
            attname::text as column_name,
            format_type(atttypid, null) as data_type,
            null::integer as character_maximum_length,
            null::integer as numeric_precision,
            null::integer as numeric_scale
        from pg_attribute
        where
            attrelid = to_regclass('{{ relation.include(database=false) }}')
            and attnum > 0
            and not attisdropped
        order by attnum
    {%- endcall -%}
    {{- return(sql_convert_columns_in_relation(load_result('get_columns_in_relation').table)) -}}
{%- endmacro %}

{% macro postgres__get_show_grant_sql(relation) -%}
    select
        pg_get_userbyid(granted.grantee) as grantee,
        granted.privilege_type
    from pg_class
    cross join aclexplode(pg_class.relacl) as granted
    where
        pg_class.oid = to_regclass('{{ relation.include(database=false) }}')
        and granted.grantor = current_role::regrole
        and granted.grantee <> current_role::regrole
{%- endmacro %}

{#- Comments on a relation and its columns: those alone that say something else than they should. -#}
{% macro postgres__persist_docs(relation, model, for_relation, for_columns) -%}
    {%- if not (for_relation and config.persist_relation_docs()) -%}
        {{- return('') -}}
    {%- endif -%}
    {%- set found = run_query(
        "select attribute.attname, coalesce(col_description(attribute.attrelid, attribute.attnum), '') from pg_attribute"
        ~ " as attribute where attribute.attrelid = to_regclass('" ~ relation.include(database=false) ~ "')"
        ~ " and attribute.attnum > 0 and not attribute.attisdropped union all"
        ~ " select null, coalesce(obj_description(to_regclass('" ~ relation.include(database=false) ~ "'), 'pg_class'), '')"
    ) -%}
    {%- set statements = [] -%}
    {%- for name, comment in found.rows -%}
        {%- set described = model if name is none else model.columns.get(name, {}) -%}
        {%- set wanted = described.get('description', '') -%}
        {%- if wanted and wanted != comment -%}
            {%- set what = relation.type ~ ' ' ~ relation if name is none else 'column ' ~ relation ~ '.' ~ name -%}
            {%- do statements.append('comment on ' ~ what ~ ' is ' ~ postgres_escape_comment(wanted)) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if statements -%}
        {%- do run_query(statements | join('; ')) -%}
    {%- endif -%}
{%- endmacro %}
