{#- How Spark and Sail write a table; Postgres' is dbt's. -#}

{#- Write the query of a model as a table: the body of a materialization. -#}
{% macro write_table(sql) -%}
    {%- set relation = this.incorporate(type='table') -%}
    {%- set format = env_var('TICKMART_ENGINE_TABLE_FORMAT', 'parquet') -%}
    {%- set location = env_var('TICKMART_ENGINE_TABLES', '') -%}
    {% call statement('main') -%}
        create table {{ relation }} using {{ format }}
        {% if config.get('engine_partition_by') %} partitioned by ({{ config.get('engine_partition_by') }}) {% endif %}
        {% if location %} location '{{ location }}/{{ relation.schema }}/{{ relation.identifier }}' {% endif %}
        as {{ as_contracted(sql) }}
    {%- endcall %}
    {{ return({'relations': [relation]}) }}
{%- endmacro %}

{#- The query with the contract's columns in their order and types; decimals keep the places that they have. -#}
{% macro as_contracted(sql) -%}
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
