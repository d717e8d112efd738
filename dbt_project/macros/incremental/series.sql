{#-
    Which rows an incremental model writes again, by asset. A series is the bars of one asset in order of time.

    * loaded_at of a row is the newest load among the rows of the series up to and including it. It never decreases along a
      series, so the newest row carries the watermark of the series, and a load changes all rows from some bar on.
    * series_version is a fingerprint of the universe rows of the asset. When it changes, or the asset leaves the universe,
      the series is deleted and written again.
-#}

{#- Fingerprint of an asset's universe rows; a window expression over stg_tickmart__universe. -#}
{% macro universe_fingerprint() -%}
    {{ fingerprint(joined_texts_over(universe_row(), 'crypto_id', ['valid_from_at', 'binance_symbol'])) }}
{%- endmacro %}

{#- Fingerprint of the whole universe; an aggregate over stg_tickmart__universe. -#}
{% macro whole_universe_fingerprint() -%}
    {{ fingerprint(joined_texts(
        "crypto_id || '|' || " ~ universe_row(), ['crypto_id', 'valid_from_at', 'binance_symbol']
    )) }}
{%- endmacro %}

{#- A universe row as a text. -#}
{% macro universe_row() -%}
    binance_symbol || '|' || coalesce({{ text_of_day('valid_from') }}, '')
    || '|' || coalesce({{ text_of_day('valid_to') }}, '')
{%- endmacro %}

{#- Subquery: the newest row of each asset in a relation, as (crypto_id, <instant>, loaded_at, series_version). -#}
{% macro newest_row_per_asset(relation, instant) -%}
    {{ return(adapter.dispatch('newest_row_per_asset')(relation, instant)) }}
{%- endmacro %}

{#- Postgres reads every row for a `distinct`. The recursion takes two index probes per asset instead. -#}
{% macro postgres__newest_row_per_asset(relation, instant) -%}
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

{#-
    Pre-hook: delete the series whose universe rows changed or left. `current` has the crypto_id and series_version of
    today; by default they come from the universe.
-#}
{% macro delete_stale_series(instant='opened_at', current=none) -%}
    {%- if is_incremental() -%}
        delete from {{ this }}
        where crypto_id in (
            select written.crypto_id
            from {{ newest_row_per_asset(this, instant) }} as written
            where not exists (
                select 1
                from (
                    {%- if current is none %}
                    select
                        crypto_id,
                        {{ universe_fingerprint() }} as series_version
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
    Query: the assets that this model must write again, as (crypto_id, series_version, first_opened_at, last_unchanged_at).
    The model writes the bars after last_unchanged_at; '-infinity' means all bars. `upstream` has crypto_id, opened_at and
    loaded_at as defined above. The query walks back from the newest row only over the rows that changed.
-#}
{% macro changed_series(upstream) -%}
    select
        series.crypto_id,
        series.series_version,
        series.first_opened_at,
        {% if is_incremental() -%}
        -- least() ignores a null: a series that changed from its first bar on has no unchanged row
        case
            when unchanged.opened_at is null then '-infinity'::timestamptz
            else least(unchanged.opened_at, written.opened_at)
        end as last_unchanged_at
        {%- else -%}
        '-infinity'::timestamptz as last_unchanged_at
        {%- endif %}
    from {{ ref('int_asset_watermarks') }} as series
    {% if is_incremental() -%}
    left join lateral (
        select
            opened_at,
            loaded_at
        from {{ this }} as rows_of_asset
        where rows_of_asset.crypto_id = series.crypto_id
        order by opened_at desc
        limit 1
    ) as written on true
    left join lateral (
        select opened_at
        from {{ upstream }} as bars
        where
            bars.crypto_id = series.crypto_id
            and bars.loaded_at <= written.loaded_at
        order by opened_at desc
        limit 1
    ) as unchanged on true
    where
        written.loaded_at is null
        or written.loaded_at < series.loaded_at
        or written.opened_at is distinct from series.last_opened_at
    {%- endif %}
{%- endmacro %}

{#- Pre-hook: delete the rows that changed_series names, so that the model appends. Bars that became invalid go too. -#}
{% macro delete_stale_bars(upstream) -%}
    {%- if is_incremental() -%}
        delete from {{ this }} as written
        using ({{ changed_series(upstream) }}) as changed
        where
            written.crypto_id = changed.crypto_id
            and written.opened_at > changed.last_unchanged_at
    {%- endif -%}
{%- endmacro %}
