{#- Other expressions and statements that engines write differently. -#}

{#-
    Log return ln(price / previous). Near 1, 2 atanh((a - b) / (a + b)) equals ln(a / b) without its loss of digits. Far from
    1 that quotient rounds towards 1 (at a factor of 1e16 to 1 itself, whose atanh is infinite), so ln() is used.
-#}
{% macro log_return(price, previous) -%}
    {{ return(adapter.dispatch('log_return')(price, previous)) }}
{%- endmacro %}

{% macro postgres__log_return(price, previous) -%}
    case
        when {{ price }} <= 2 * {{ previous }} and {{ previous }} <= 2 * {{ price }}
            then 2 * atanh((({{ price }} - {{ previous }}) / ({{ price }} + {{ previous }}))::double precision)
        else ln({{ price }}::double precision) - ln({{ previous }}::double precision)
    end
{%- endmacro %}

{#- The number of the range that contains a value: 1 from the first lower bound on, 0 below it, null for null. -#}
{% macro range_number(value, lower_bounds) -%}
    {{ return(adapter.dispatch('range_number')(value, lower_bounds)) }}
{%- endmacro %}

{% macro postgres__range_number(value, lower_bounds) -%}
    width_bucket({{ value }}, array[{{ lower_bounds | join(', ') }}]::double precision[])
{%- endmacro %}

{#- A 32-bit fingerprint of a text. -#}
{% macro fingerprint(text) -%}
    {{ return(adapter.dispatch('fingerprint')(text)) }}
{%- endmacro %}

{% macro postgres__fingerprint(text) -%}
    ('x' || substr(md5({{ text }}), 1, 8))::bit(32)::integer
{%- endmacro %}

{#- Bytes as hexadecimal digits. -#}
{% macro hex_text(bytes) -%}
    {{ return(adapter.dispatch('hex_text')(bytes)) }}
{%- endmacro %}

{% macro postgres__hex_text(bytes) -%}
    encode({{ bytes }}, 'hex')
{%- endmacro %}

{#-
    Post-hook: collect statistics after a full build. dbt writes a large table in one statement, and the models that read
    it next run before autovacuum sees it.
-#}
{% macro analyze_after_full_build() -%}
    {{ return(adapter.dispatch('analyze_after_full_build')()) }}
{%- endmacro %}

{% macro postgres__analyze_after_full_build() -%}
    {%- if not is_incremental() -%} analyze {{ this }} {%- endif -%}
{%- endmacro %}

{#- Boolean expression: a valid unique index on exactly these columns guarantees the key. -#}
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
