{#-
    Everything that is said differently on another engine. Models call these names; a port adds one implementation each.
    No macro here depends on the session's time zone.
-#}

{#- The UTC calendar day of an instant. -#}
{% macro utc_date(instant) -%}
    {{ return(adapter.dispatch('utc_date')(instant)) }}
{%- endmacro %}

{% macro postgres__utc_date(instant) -%}
    (({{ instant }}) at time zone 'UTC')::date
{%- endmacro %}

{#- The instant at which a UTC calendar day begins. -#}
{% macro utc_midnight(date) -%}
    {{ return(adapter.dispatch('utc_midnight')(date)) }}
{%- endmacro %}

{% macro postgres__utc_midnight(date) -%}
    (({{ date }})::timestamp at time zone 'UTC')
{%- endmacro %}

{#- The instant at which the hour of an instant began; some zones are half an hour off UTC, so not the session's hour. -#}
{% macro utc_hour(instant) -%}
    {{ return(adapter.dispatch('utc_hour')(instant)) }}
{%- endmacro %}

{% macro postgres__utc_hour(instant) -%}
    date_trunc('hour', {{ instant }}, 'UTC')
{%- endmacro %}

{#- A span of whole hours. Never written in days: a day of a session in New York can have 23 or 25 hours. -#}
{% macro hours(count) -%}
    {{ return(adapter.dispatch('hours')(count)) }}
{%- endmacro %}

{% macro postgres__hours(count) -%}
    interval '{{ count }} hours'
{%- endmacro %}

{#- Window frame (t - hours, t] over an ordering by instant: a gap in the bars never stretches it. -#}
{% macro trailing_hours(count) -%}
    {{ return(adapter.dispatch('trailing_hours')(count)) }}
{%- endmacro %}

{% macro postgres__trailing_hours(count) -%}
    range between interval '{{ count - 1 }} hours 59 minutes 59.999999 seconds' preceding and current row
{%- endmacro %}

{#- Window frame of the last so many days over an ordering by date. -#}
{% macro trailing_days(count) -%}
    {{ return(adapter.dispatch('trailing_days')(count)) }}
{%- endmacro %}

{% macro postgres__trailing_days(count) -%}
    range between interval '{{ count - 1 }} days' preceding and current row
{%- endmacro %}

{#- Aggregates: the value in the first, or last, row of a group by some order; of the rows that satisfy `condition`. -#}
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

{#- A query of one column, date: every day from the first to the last. -#}
{% macro days_between(first, last) -%}
    {{ return(adapter.dispatch('days_between')(first, last)) }}
{%- endmacro %}

{% macro postgres__days_between(first, last) -%}
    select generate_series('{{ first }}'::timestamp, '{{ last }}'::timestamp, '1 day')::date as date
{%- endmacro %}

{#- Window frame of the one row that stands exactly so many hours earlier; empty when that row is missing. -#}
{% macro hours_earlier(count) -%}
    {{ return(adapter.dispatch('hours_earlier')(count)) }}
{%- endmacro %}

{% macro postgres__hours_earlier(count) -%}
    range between interval '{{ count }} hours' preceding and interval '{{ count }} hours' preceding
{%- endmacro %}

{#-
    Log return ln(price / previous). Near 1, 2 atanh((a - b) / (a + b)) is ln(a / b) without the loss of digits of ln(); far
    from it the quotient rounds towards 1, at a factor of 1e16 to 1 itself, whose atanh is infinite.
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

{#- A 32-bit fingerprint of a text. -#}
{% macro fingerprint(text) -%}
    {{ return(adapter.dispatch('fingerprint')(text)) }}
{%- endmacro %}

{% macro postgres__fingerprint(text) -%}
    ('x' || substr(md5({{ text }}), 1, 8))::bit(32)::integer
{%- endmacro %}

{#-
    TA-Lib's exponential moving average of n values: seeded with the mean of the first n, null before; to be followed by
    `over`. Where `resume` is not null in the first row of a series, it is the average there, and the series goes on from it.
-#}
{% macro ema(expression, count, resume) -%}
    {{ return(adapter.dispatch('ema')(expression, count, resume)) }}
{%- endmacro %}

{% macro postgres__ema(expression, count, resume) -%}
    intermediate.ema({{ expression }}, {{ count }}, {{ resume }})
{%- endmacro %}

{#- Wilder's smoothing of n values, as TA-Lib's RSI and ATR use it: as ema, but with weight 1 / n. -#}
{% macro wilder(expression, count, resume) -%}
    {{ return(adapter.dispatch('wilder')(expression, count, resume)) }}
{%- endmacro %}

{% macro postgres__wilder(expression, count, resume) -%}
    intermediate.wilder({{ expression }}, {{ count }}, {{ resume }})
{%- endmacro %}

{#-
    The aggregates that Postgres lacks, created once. A dbt that starts at the same moment waits for the lock
    and then finds them there; a changed definition carries a new number in the comment and replaces the old one.
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
    -- state: how many values came, their sum while fewer than n, the average from the n-th on
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
    -- sum(bigint) of Postgres returns numeric; this one stays a bigint, and slides
    create or replace aggregate intermediate.exact_sum(bigint) (
        sfunc = int8pl, stype = bigint, initcond = '0', parallel = safe,
        msfunc = int8pl, minvfunc = int8mi, mstype = bigint, minitcond = '0'
    );
end $create$
{%- endmacro %}

{#- Post-hook: gather statistics after a full build; small changes are left to the server. -#}
{% macro analyze_once() -%}
    {{ return(adapter.dispatch('analyze_once')()) }}
{%- endmacro %}

{% macro postgres__analyze_once() -%}
    {%- if not is_incremental() -%} analyze {{ this }} {%- endif -%}
{%- endmacro %}

{#-
    A contract's primary key, made when the rows are there: sorting 3.4 million of them once takes 2.7 s of CPU, keeping the
    index row by row 6 s. dbt asks for the table's definition before it writes the rows, and for its indexes after.
-#}
{% macro postgres__get_table_columns_and_constraints() -%}
    {%- set columns = adapter.render_raw_columns_constraints(raw_columns=model['columns']) -%}
    {%- set others = model['constraints'] | rejectattr('type', 'equalto', 'primary_key') | list -%}
    ({{ (columns + adapter.render_raw_model_constraints(raw_constraints=others)) | join(', ') }})
{%- endmacro %}

{% macro postgres__create_indexes(relation) -%}
    {{- default__create_indexes(relation) -}}
    {%- if config.get('contract').enforced -%}
        {%- for constraint in model['constraints'] if constraint['type'] == 'primary_key' -%}
            {%- do run_query('alter table ' ~ relation ~ ' add primary key (' ~ constraint['columns'] | join(', ') ~ ')') -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}
