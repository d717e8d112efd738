{#-
    Aggregate functions, as Postgres writes them, and the aggregates that Postgres lacks. Models call the first macro of
    each pair; a port to another engine adds one implementation.
-#}

{#- Aggregates: the value in the first or last row of a group by `order`, of the rows that satisfy `condition`. -#}
{% macro first_by(value, order, condition='true') -%}
    {{ return(adapter.dispatch('first_by')(value, order, condition)) }}
{%- endmacro %}

{% macro postgres__first_by(value, order, condition) -%}
    (array_agg({{ value }} order by {{ order }}) filter (where {{ condition }}))[1]
{%- endmacro %}

{% macro last_by(value, order, condition='true') -%}
    {{ return(adapter.dispatch('last_by')(value, order, condition)) }}
{%- endmacro %}

{% macro postgres__last_by(value, order, condition) -%}
    (array_agg({{ value }} order by {{ order }} desc) filter (where {{ condition }}))[1]
{%- endmacro %}

{#-
    TA-Lib's exponential moving average of `count` values: the mean of the first `count` values, then weight
    2 / (count + 1); null before. `over` is the name of a window. If `resume` is not null in the first row of a partition, it
    is the average there and the later rows continue from it.
-#}
{% macro ema(expression, count, resume, over) -%}
    {{ return(adapter.dispatch('ema')(expression, count, resume, over)) }}
{%- endmacro %}

{% macro postgres__ema(expression, count, resume, over) -%}
    intermediate.ema({{ expression }}, {{ count }}, {{ resume }}) over {{ over }}
{%- endmacro %}

{#- Wilder's smoothing of `count` values, as TA-Lib's RSI and ATR use it: like ema, with weight 1 / count. -#}
{% macro wilder(expression, count, resume, over) -%}
    {{ return(adapter.dispatch('wilder')(expression, count, resume, over)) }}
{%- endmacro %}

{% macro postgres__wilder(expression, count, resume, over) -%}
    intermediate.wilder({{ expression }}, {{ count }}, {{ resume }}) over {{ over }}
{%- endmacro %}

{#- Aggregate: the texts of a group, joined by commas, in the order of some columns. -#}
{% macro joined_texts(text, order) -%}
    {{ return(adapter.dispatch('joined_texts')(text, order)) }}
{%- endmacro %}

{% macro postgres__joined_texts(text, order) -%}
    string_agg({{ text }}, ',' order by {{ order | join(', ') }})
{%- endmacro %}

{#- The same as a window expression: all texts of the partition, in each of its rows. -#}
{% macro joined_texts_over(text, partition, order) -%}
    {{ return(adapter.dispatch('joined_texts_over')(text, partition, order)) }}
{%- endmacro %}

{% macro postgres__joined_texts_over(text, partition, order) -%}
    string_agg({{ text }}, ',') over (
        partition by {{ partition }} order by {{ order | join(', ') }}
        rows between unbounded preceding and unbounded following
    )
{%- endmacro %}

{#-
    on-run-start: create the aggregates that Postgres lacks. Concurrent dbt processes wait for the lock and then find the
    aggregates. To change a definition, increase the version in the comment: the new definition replaces the old one.
-#}
{% macro create_aggregates() -%}
    {{ return(adapter.dispatch('create_aggregates')()) }}
{%- endmacro %}

{% macro postgres__create_aggregates() -%}
{%- set version = 'tickmart aggregates, version 3' -%}
do $create$
begin
    perform pg_advisory_xact_lock(hashtext('tickmart.create_aggregates'));
    if coalesce(
        obj_description(
            to_regprocedure('intermediate.wilder(double precision, integer, double precision)'), 'pg_proc'
        ), ''
    ) = '{{ version }}' then
        return;
    end if;
    {% for name, step in [
        ('ema', 'state[3] + 2.0::double precision / (n + 1) * (x - state[3])'),
        ('wilder', '(state[3] * (n - 1) + x) / n'),
    ] %}
    -- state: number of values (up to n), their sum before the n-th, the average from the n-th on
    create or replace function intermediate.{{ name }}_step(
        state double precision[], x double precision, n integer, resume double precision
    ) returns double precision[] language plpgsql immutable parallel safe as $step$
    begin
        if state[1] = 0 and resume is not null then return array[n, 0, resume]; end if;
        if x is null then return state; end if;
        if state[1] < n - 1 then return array[state[1] + 1, state[2] + x, null]; end if;
        if state[1] = n - 1 then return array[n, 0, (state[2] + x) / n]; end if;
        return array[n, 0, {{ step }}];
    end $step$;
    create or replace function intermediate.{{ name }}_value(
        state double precision[], x double precision, n integer, resume double precision
    ) returns double precision language sql immutable parallel safe as 'select state[3]';
    create or replace aggregate intermediate.{{ name }}(double precision, integer, double precision) (
        sfunc = intermediate.{{ name }}_step, stype = double precision[], initcond = '{0,0,null}',
        finalfunc = intermediate.{{ name }}_value, finalfunc_extra, parallel = safe
    );
    comment on aggregate intermediate.{{ name }}(double precision, integer, double precision) is '{{ version }}';
    {% endfor %}
end $create$
{%- endmacro %}
