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

{#- The table of a model if it is there and goes on from what it has; none when it is to be built from nothing. -#}
{% macro relation_of(model_name) -%}
    {%- if not execute or flags.FULL_REFRESH -%}
        {{- return(none) -}}
    {%- endif -%}
    {%- set node = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('name', 'equalto', model_name) | first -%}
    {{- return(adapter.get_relation(node.database, node.schema, node.alias)) -}}
{%- endmacro %}

{#- The newest load that a query's rows came with, as a literal. -#}
{% macro newest_load_in(rows) -%}
    {%- set found = run_query(
        "select to_char(max(loaded_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') from " ~ rows
    ) -%}
    {{- return(found.rows[0][0] or '-infinity') -}}
{%- endmacro %}

{#- The newest load that a model of this project has built, as a literal; '-infinity' when it is to be built from nothing. -#}
{% macro newest_load_of(model_name) -%}
    {%- set relation = relation_of(model_name) -%}
    {{- return('-infinity' if relation is none else newest_load_in(relation)) -}}
{%- endmacro %}

{#-
    The bars that a build will read: those loaded since `built` was built, the newest two days of each series, of which the
    last bar is read again, and those that `built` knows as invalid. All of them when there is no such model yet, or on a full
    refresh.
-#}
{% macro bars_to_judge(model, built) -%}
    {%- set relation = relation_of(built) -%}
    {%- if relation is none -%}
        {{ model }}
    {%- else -%}
        {%- set newest_load = newest_load_in(newest_rows(relation, 'opened_at') ~ ' as newest') -%}
        (
            select * from {{ model }} where loaded_at > '{{ newest_load }}'::timestamptz
            union
            select bars.*
            from {{ newest_rows(relation, 'opened_at') }} as newest
            inner join {{ ref('stg_tickmart__universe') }} as tracked on newest.crypto_id = tracked.crypto_id
            cross join lateral (
                select * from {{ model }} as bars
                where
                    bars.binance_symbol = tracked.binance_symbol
                    and bars.bar_interval = '1h'
                    and bars.opened_at > newest.opened_at - {{ hours(48) }}
                offset 0
            ) as bars
            union
            select bars.*
            from {{ relation }} as known
            inner join {{ model }} as bars
                on known.binance_symbol = bars.binance_symbol
                and known.opened_at = bars.opened_at
            where
                known.invalid_reason is not null
                and bars.bar_interval = '1h'
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
