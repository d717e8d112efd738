{#-
    The dialect of Spark, which Sail speaks too: one implementation of each macro of this folder that models call. Their
    SQL is in the syntax of the models (orchestration/engines/translation.py translates both). An engine builds every model
    in full, so nothing here deletes, resumes or locks. Sessions of an engine are in UTC.
-#}

{% macro spark__utc_date(instant) -%}
    ({{ instant }})::date
{%- endmacro %}

{% macro spark__utc_midnight(date) -%}
    ({{ date }})::timestamp
{%- endmacro %}

{% macro spark__utc_hour(instant) -%}
    date_trunc('hour', {{ instant }})
{%- endmacro %}

{% macro spark__utc_span(minutes, instant) -%}
    timestamp_seconds(unix_timestamp({{ instant }}) - pmod(unix_timestamp({{ instant }}), 60 * {{ minutes }}))
{%- endmacro %}

{% macro spark__hours(count) -%} {{ postgres__hours(count) }} {%- endmacro %}

{% macro spark__minutes(count) -%} {{ postgres__minutes(count) }} {%- endmacro %}

{% macro spark__trailing_hours(count) -%} {{ postgres__trailing_hours(count) }} {%- endmacro %}

{#- Sail 0.7 takes no notice of an interval of days over an ordering by date. -#}
{% macro spark__trailing_days(date, count) -%}
    order by {{ days_since(date, "'2000-01-01'::date") }} range between {{ count - 1 }} preceding and current row
{%- endmacro %}

{% macro spark__hours_earlier(count) -%} {{ postgres__hours_earlier(count) }} {%- endmacro %}

{% macro spark__days_between(first, last) -%}
    select explode(sequence('{{ first }}'::date, '{{ last }}'::date)) as date
{%- endmacro %}

{#- Sail truncates to a literal unit only. -#}
{% macro spark__start_of(timeframe, date) -%}
    case {{ timeframe }}
        when 'week' then date_trunc('week', {{ date }}::timestamp)::date
        when 'month' then date_trunc('month', {{ date }}::timestamp)::date
    end
{%- endmacro %}

{% macro spark__days_since(date, first) -%}
    datediff({{ date }}, {{ first }})
{%- endmacro %}

{% macro spark__first_by(value, order, condition) -%}
    min_by({{ value }}, {{ order }}) filter (where {{ condition }})
{%- endmacro %}

{% macro spark__last_by(value, order, condition) -%}
    max_by({{ value }}, {{ order }}) filter (where {{ condition }})
{%- endmacro %}

{% macro spark__ema(expression, count, resume, over) -%}
    {{ smoothed(expression, count, '2.0::double precision / ' ~ (count + 1), 20 * count, over) }}
{%- endmacro %}

{% macro spark__wilder(expression, count, resume, over) -%}
    {{ smoothed(expression, count, '1.0::double precision / ' ~ count, 40 * count, over) }}
{%- endmacro %}

{#-
    A recursive average, over the last `frame` values of each row: what came before them has a weight of less than 1e-16.
    The cost is linear in the rows.
-#}
{% macro smoothed(expression, count, weight, frame, over) -%}
    {%- set values -%}
        filter(
            collect_list({{ expression }}) over ({{ over }} rows between {{ frame - 1 }} preceding and current row),
            x -> x is not null
        )
    {%- endset -%}
    case
        when size({{ values }}) >= {{ count }}
            then aggregate(
                slice({{ values }}, {{ count + 1 }}, {{ frame }}),
                aggregate(slice({{ values }}, 1, {{ count }}), 0::double precision, (total, x) -> total + x) / {{ count }},
                (average, x) -> average + {{ weight }} * (x - average)
            )
    end
{%- endmacro %}

{% macro spark__log_return(price, previous) -%} {{ postgres__log_return(price, previous) }} {%- endmacro %}

{% macro spark__range_number(value, lower_bounds) -%}
    case
        when {{ value }} is null then null
        {%- for bound in lower_bounds | reverse %}
        when {{ value }} >= {{ bound }}::double precision then {{ loop.revindex }}
        {%- endfor %}
        else 0
    end
{%- endmacro %}

{#- conv() gives the digits as a number from 0 to 2^32; Postgres' integer has a sign. -#}
{% macro spark__fingerprint(text) -%}
    ((conv(substr(md5({{ text }}), 1, 8), 16, 10)::bigint + 2147483648) % 4294967296 - 2147483648)::integer
{%- endmacro %}

{% macro spark__hex_text(bytes) -%}
    lower(hex({{ bytes }}))
{%- endmacro %}

{% macro spark__text_of_day(date) -%}
    date_format({{ date }}, 'yyyyMMdd')
{%- endmacro %}

{% macro spark__joined_texts(text, order) -%}
    array_join(transform(sort_array(collect_list(named_struct(
        {%- for column in order %}'{{ column }}', {{ column }}, {% endfor -%}
        'text', {{ text }}
    ))), item -> item.text), ',')
{%- endmacro %}

{% macro spark__joined_texts_over(text, partition, order) -%}
    array_join(collect_list({{ text }}) over (
        partition by {{ partition }} order by {{ order | join(', ') }}
        rows between unbounded preceding and unbounded following
    ), ',')
{%- endmacro %}

{% macro spark__newest_row_per_asset(relation, instant) -%}
    (
        select
            crypto_id,
            max({{ instant }}) as {{ instant }},
            max_by(loaded_at, {{ instant }}) as loaded_at,
            max_by(series_version, {{ instant }}) as series_version
        from {{ relation }}
        group by crypto_id
    )
{%- endmacro %}

{% macro spark__key_is_enforced(relation, columns) -%} false {%- endmacro %}

{% macro spark__analyze_after_full_build() -%}{%- endmacro %}

{% macro spark__create_aggregates() -%}{%- endmacro %}

{% macro spark__create_bars_as_of() -%}{%- endmacro %}

{% macro spark__drop_deferred_relations() -%}{%- endmacro %}

{% macro spark__recent_minutes(count) -%}
    select {{ utc_span(1, 'current_timestamp') }} - {{ minutes(1) }} * minutes_ago as minute
    from (select explode(sequence(0, {{ count }})) as minutes_ago) as ago
{%- endmacro %}
