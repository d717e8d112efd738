{#-
    What the tests share. A test that reads a large table reads what is new since the last build: the rest was judged when
    it came, and the constraints of the marts hold it.
-#}

{#- Whether a valid unique index on exactly these columns keeps the key: a boolean expression. -#}
{% macro key_is_enforced(relation, columns) -%}
    {{ return(adapter.dispatch('key_is_enforced')(relation, columns)) }}
{%- endmacro %}

{% macro postgres__key_is_enforced(relation, columns) -%}
    coalesce((
        select bool_or(index_columns.names = array['{{ columns | sort | join("', '") }}'])
        from (
            select array_agg(attribute.attname::text order by attribute.attname::text collate "C") as names
            from pg_index as key
            inner join pg_attribute as attribute
                on key.indrelid = attribute.attrelid
                and attribute.attnum = any(key.indkey)
            where
                key.indrelid = to_regclass('{{ relation.include(database=false) }}')
                and key.indisunique
                and key.indisvalid
                and key.indpred is null
            group by key.indexrelid
        ) as index_columns
    ), false)
{%- endmacro %}

{#- The newest load that a model of this project has built, as a literal; '-infinity' when it is to be built from nothing. -#}
{% macro newest_load_of(model_name) -%}
    {%- if execute and not flags.FULL_REFRESH -%}
        {%- set node = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
            | selectattr('name', 'equalto', model_name) | first -%}
        {%- set relation = adapter.get_relation(node.database, node.schema, node.alias) -%}
        {%- if relation is not none -%}
            {%- set newest = newest_rows(relation, 'opened_at') ~ ' as newest' if model_name == 'int_crypto_hourly' else relation -%}
            {%- set found = run_query(
                "select to_char(max(loaded_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') from " ~ newest
            ) -%}
            {{- return(found.rows[0][0] or '-infinity') -}}
        {%- endif -%}
    {%- endif -%}
    {{- return('-infinity') -}}
{%- endmacro %}

{#-
    The bars that a build will read: those loaded since `built` was built, and the newest two days of each tracked symbol, of
    which the last bar is read again. All of them when there is no such model yet, or on a full refresh.
-#}
{% macro bars_to_judge(model, built) -%}
    {%- set newest_load = newest_load_of(built) if built else '-infinity' -%}
    {%- if newest_load == '-infinity' -%}
        {{ model }}
    {%- else -%}
        (
            select * from {{ model }} where loaded_at > '{{ newest_load }}'::timestamptz
            union all
            select newest.*
            from {{ ref('stg_tickmart__universe') }} as tracked
            cross join lateral (
                select * from {{ model }} as bars
                where
                    bars.binance_symbol = tracked.binance_symbol
                    and bars.bar_interval = '1h'
                order by bars.opened_at desc
                limit 48
            ) as newest
            where newest.loaded_at <= '{{ newest_load }}'::timestamptz
        )
    {%- endif -%}
{%- endmacro %}

{#-
    At the end of a run: for each test that did not pass, its rows (the first five) and the mend, so that the log says all
    that is needed to act.
-#}
{% macro explain_failures(results) -%}
    {%- if execute -%}
        {%- for result in results
            if result.node.resource_type == 'test' and result.status in ('fail', 'warn') and result.node.compiled_code -%}
            {%- set found = run_query('select * from (' ~ result.node.compiled_code ~ ') as failing limit 5') -%}
            {%- do log(
                result.node.name ~ ' ' ~ ('failed' if result.status == 'fail' else 'warns') ~ ' with '
                ~ result.failures ~ ' rows on ' ~ (result.node.refs | map(attribute='name') | join(', ')
                or result.node.sources | map('join', '.') | join(', ')) ~ '. Mend: '
                ~ result.node.config.meta.get('mend', result.node.description or 'see the test in dbt_project/'
                ~ result.node.original_file_path), info=true
            ) -%}
            {%- for row in found.rows -%}
                {%- set cells = [] -%}
                {%- for name in found.column_names -%}
                    {%- do cells.append(name ~ '=' ~ row[name]) -%}
                {%- endfor -%}
                {%- do log('    ' ~ cells | join(' '), info=true) -%}
            {%- endfor -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
