{#-
    Which rows a test reads. A test of a large table reads only what is new since the last build: earlier builds tested the
    rest, and the constraints of the marts guarantee it.
-#}

{#- The newest load that a model of this project has built, as a literal; '-infinity' if the model is built from nothing. -#}
{% macro newest_load_of_model(model_name) -%}
    {%- set relation = built_relation(model_name) -%}
    {{- return('-infinity' if relation is none else newest_load(relation)) -}}
{%- endmacro %}

{#- The relation of a model; none if it does not exist or the run is a full refresh. -#}
{% macro built_relation(model_name) -%}
    {%- if not execute or flags.FULL_REFRESH -%}
        {{- return(none) -}}
    {%- endif -%}
    {%- set node = graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('name', 'equalto', model_name) | first -%}
    {{- return(adapter.get_relation(node.database, node.schema, node.alias)) -}}
{%- endmacro %}

{#-
    The bars that a build will read, as a relation: those loaded since the model `built` was built, the newest two days of
    each series (a build reads the last bar again), and those that `built` marks as invalid. All bars if `built` does not
    exist or the run is a full refresh.
-#}
{% macro bars_to_validate(model, built) -%}
    {%- set relation = built_relation(built) -%}
    {%- if relation is none -%}
        {{ model }}
    {%- else -%}
        {%- set newest = newest_load(newest_row_per_asset(relation, 'opened_at') ~ ' as newest') -%}
        (
            select * from {{ model }} where loaded_at > '{{ newest }}'::timestamptz
            union
            select bars.*
            from {{ newest_row_per_asset(relation, 'opened_at') }} as newest
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
