{#-
    Overrides: materializations table and incremental of dbt-spark 1.11
    (dbt-spark/src/dbt/include/spark/macros/materializations/table.sql and incremental/incremental.sql).
    Reason: each build of an engine writes every table into a new folder, which is published as a whole when the build
    succeeded. So there is nothing to replace, and an incremental model is written in full. A contract's types are cast
    to, because the models' SQL names Postgres' types.
-#}
{% materialization table, adapter='spark' -%}
    {{ return(_write_table(sql)) }}
{%- endmaterialization %}

{% materialization incremental, adapter='spark' -%}
    {{ return(_write_table(sql)) }}
{%- endmaterialization %}

{% macro _write_table(sql) -%}
    {%- set relation = this.incorporate(type='table') -%}
    {%- set format = env_var('TICKMART_ENGINE_TABLE_FORMAT', 'parquet') -%}
    {%- set location = env_var('TICKMART_ENGINE_TABLES', '') -%}
    {% call statement('main') -%}
        create table {{ relation }} using {{ format }}
        {% if config.get('engine_partition_by') %} partitioned by ({{ config.get('engine_partition_by') }}) {% endif %}
        {% if location %} location '{{ location }}/{{ relation.schema }}/{{ relation.identifier }}' {% endif %}
        as {{ _as_contracted(sql) }}
    {%- endcall %}
    {{ return({'relations': [relation]}) }}
{%- endmacro %}

{#- The query with the contract's columns in their order and types; decimals keep the places that they have. -#}
{% macro _as_contracted(sql) -%}
    {%- set types = {
        'text': 'string', 'double precision': 'double', 'integer': 'int', 'bigint': 'bigint', 'date': 'date',
        'timestamptz': 'timestamp', 'boolean': 'boolean',
    } -%}
    {%- if config.get('contract').enforced -%}
        select
        {%- for name, column in model['columns'].items() %}
            {% if column['data_type'] in types -%}
                cast({{ name }} as {{ types[column['data_type']] }}) as {{ name }}
            {%- else -%} {{ name }} {%- endif %}{{ ',' if not loop.last }}
        {%- endfor %}
        from ({{ sql }}) as contracted
    {%- else -%}
        {{ sql }}
    {%- endif -%}
{%- endmacro %}

{#- Comments and grants are Postgres'. -#}
{% macro spark__persist_docs(relation, model, for_relation, for_columns) -%}{%- endmacro %}

{% macro spark__apply_grants(relation, grant_config, should_revoke) -%}{%- endmacro %}
