{#-
    How incremental models know what to write again. A series is one asset's bars in order of time.

    * loaded_at of a written row is the newest load among the series' rows up to and including it. It never falls along
      a series, so the newest row carries the series' watermark, and what a later load touches is a suffix.
    * series_version is a fingerprint of the universe rows that make up the series. When it changes, or the asset leaves
      the universe, the series is forgotten whole and written anew.
-#}

{#- Fingerprint of an asset's universe rows; a window expression over stg_tickmart__universe. -#}
{% macro series_version() -%}
    {{ fingerprint(
        "string_agg(binance_symbol || '|' || coalesce(to_char(valid_from, 'YYYYMMDD'), '') || '|'"
        ~ " || coalesce(to_char(valid_to, 'YYYYMMDD'), ''), ',') over ("
        ~ "partition by crypto_id order by valid_from_at, binance_symbol "
        ~ "rows between unbounded preceding and unbounded following)"
    ) }}
{%- endmacro %}

{#- The newest row of each series of a relation, as (crypto_id, <instant>, loaded_at, series_version). -#}
{% macro newest_rows(relation, instant) -%}
    {{ return(adapter.dispatch('newest_rows')(relation, instant)) }}
{%- endmacro %}

{#- Postgres reads every row for a `distinct`; hopping from key to key takes two index probes per series instead. -#}
{% macro postgres__newest_rows(relation, instant) -%}
    (
        with recursive assets as (
            (select crypto_id from {{ relation }} order by crypto_id limit 1)
            union all
            select (
                select later.crypto_id from {{ relation }} as later
                where later.crypto_id > assets.crypto_id
                order by later.crypto_id
                limit 1
            )
            from assets
            where assets.crypto_id is not null
        )

        select
            assets.crypto_id,
            newest.{{ instant }},
            newest.loaded_at,
            newest.series_version
        from assets
        cross join lateral (
            select
                {{ instant }},
                loaded_at,
                series_version
            from {{ relation }} as rows_of_asset
            where rows_of_asset.crypto_id = assets.crypto_id
            order by {{ instant }} desc
            limit 1
        ) as newest
    )
{%- endmacro %}

{#- Pre-hook: delete the series whose universe rows changed or went, so that the model meets them as new ones. -#}
{% macro forget_changed_series(instant='opened_at', current=none) -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where crypto_id in (
            select written.crypto_id
            from {{ newest_rows(this, instant) }} as written
            where not exists (
                select 1
                from (
                    {%- if current is none %}
                    select
                        crypto_id,
                        {{ series_version() }} as series_version
                    from {{ ref('stg_tickmart__universe') }}
                    {%- else %}
                    select
                        crypto_id,
                        series_version
                    from {{ current }}
                    {%- endif %}
                ) as current_series
                where
                    current_series.crypto_id = written.crypto_id
                    and current_series.series_version = written.series_version
            )
        )
    {%- endif -%}
{%- endmacro %}

{#-
    The oldest watermark among the series of this model, as a literal. Only a lower bound for the search of new rows: as
    a literal it lets the planner see that almost nothing is newer, and use the index on loaded_at.
-#}
{% macro oldest_watermark(instant='opened_at') -%}
    {%- if execute -%}
        {%- set found = run_query(
            "select to_char(min(loaded_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') from "
            ~ newest_rows(this, instant) ~ " as written"
        ) -%}
        {{- return(found.rows[0][0] or '-infinity') -}}
    {%- endif -%}
    {{- return('-infinity') -}}
{%- endmacro %}

{#-
    The series that this model must write again, as (crypto_id, first_opened_at, unchanged_through): rows after
    unchanged_through are to be written. `upstream` must carry crypto_id, opened_at and loaded_at as defined above.
    Walks back from the newest row only as far as rows have changed.
-#}
{% macro changed_series(upstream, instant='opened_at') -%}
    select
        series.crypto_id,
        series.series_version,
        series.first_opened_at,
        {% if is_incremental() -%}
        -- least() would pass over a null: a series that changed from its first bar on has no unchanged row
        case
            when same.opened_at is null then '-infinity'::timestamptz
            else least(same.opened_at, done.opened_at)
        end as unchanged_through
        {%- else -%}
        '-infinity'::timestamptz as unchanged_through
        {%- endif %}
    from {{ ref('int_series') }} as series
    {% if is_incremental() -%}
    left join lateral (
        select
            opened_at,
            loaded_at
        from {{ this }} as written
        where written.crypto_id = series.crypto_id
        order by opened_at desc
        limit 1
    ) as done on true
    left join lateral (
        select opened_at
        from {{ upstream }} as bars
        where
            bars.crypto_id = series.crypto_id
            and bars.loaded_at <= done.loaded_at
        order by opened_at desc
        limit 1
    ) as same on true
    where
        done.loaded_at is null
        or done.loaded_at < series.loaded_at
        or done.opened_at is distinct from series.last_opened_at
    {%- endif %}
{%- endmacro %}

{#- Pre-hook: delete what changed_series names, so that the model appends. A bar that is invalid by now goes with it. -#}
{% macro forget_changed_bars(upstream) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} as written
        using ({{ changed_series(upstream) }}) as changed
        where
            written.crypto_id = changed.crypto_id
            and written.opened_at > changed.unchanged_through
    {%- endif -%}
{%- endmacro %}

{#-
    The same question by day, for the models whose rows of a day depend on more than one series. int_market_days gives
    each day the newest load that any row up to it depends on, and the fingerprint of the whole universe; both are
    copied into every row of such a model, so its newest row says what it knows.
-#}

{#- The first day that this model must write again, as a literal; 'infinity' when there is none. -#}
{% macro first_changed_day(date_column='date') -%}
    {%- if not (execute and is_incremental()) -%}
        {{- return('-infinity') -}}
    {%- endif -%}
    {%- set found = run_query(
        "select to_char(min(days.date), 'YYYY-MM-DD'), count(known.loaded_at) > 0"
        ~ " from (select 1) as always"
        ~ " left join (select " ~ date_column ~ " as date, loaded_at, universe_version from " ~ this
        ~ " order by " ~ date_column ~ " desc limit 1) as known on true"
        ~ " left join " ~ ref('int_market_days') ~ " as days"
        ~ " on days.loaded_at > known.loaded_at or days.date > known.date"
        ~ " or days.universe_version <> known.universe_version"
    ) -%}
    {%- if not found.rows[0][1] -%}
        {{- return('-infinity') -}}
    {%- endif -%}
    {{- return(found.rows[0][0] or 'infinity') -}}
{%- endmacro %}

{#- Pre-hook: delete what will be written again. -#}
{% macro forget_changed_days() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where date >= '{{ first_changed_day() }}'::date
    {%- endif -%}
{%- endmacro %}

{#- The newest load that this model knows, as a literal, for models whose rows depend on one load alone. -#}
{% macro newest_load() -%}
    {%- if execute -%}
        {%- set found = run_query(
            "select to_char(max(loaded_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') from " ~ this
        ) -%}
        {{- return(found.rows[0][0] or '-infinity') -}}
    {%- endif -%}
    {{- return('-infinity') -}}
{%- endmacro %}

{#- Pre-hook of a small mart that views stand on: empty it where it is, as a swap of tables would drop those views. -#}
{% macro forget_all() -%}
    {%- if is_incremental() -%} delete from {{ this }} {%- endif -%}
{%- endmacro %}

{#- First day of the week or month that a day (a literal, possibly infinite) belongs to. -#}
{% macro start_of(timeframe, day) -%}
    {%- if day in ('infinity', '-infinity') -%}
        '{{ day }}'::date
    {%- else -%}
        date_trunc({{ timeframe }}, '{{ day }}'::timestamp)::date
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook of fct_candles: delete the candles that hold a changed day. -#}
{% macro forget_changed_candles() -%}
    {%- if is_incremental() -%}
        delete from {{ this }} where started_on >= {{ start_of('timeframe', first_changed_day('last_date')) }}
    {%- endif -%}
{%- endmacro %}
