{#-
    on-run-start: create the function marts.bars_as_of(known_by), the hourly bars as they were known at a moment. It reads
    raw and ops for logins that may read marts only. To change it, increase the version in the comment.
-#}
{% macro create_bars_as_of() -%}
    {{ return(adapter.dispatch('create_bars_as_of')()) }}
{%- endmacro %}

{% macro postgres__create_bars_as_of() -%}
{%- set version = 'Hourly bars as they were known at a moment; known_at is when the value was loaded. Version 1-'
    ~ local_md5(invalid_bar_reason())[:8] -%}
{%- set columns = ['symbol', 'open_time', 'close_time', 'open', 'high', 'low', 'close', 'volume', 'quote_volume',
    'trade_count', 'taker_buy_base_volume', 'batch_id'] -%}
do $create$
begin
    perform pg_advisory_xact_lock(hashtext('tickmart.create_bars_as_of'));
    if coalesce(obj_description(to_regprocedure('marts.bars_as_of(timestamptz)'), 'pg_proc'), '') = '{{ version }}' then
        return;
    end if;
    -- plpgsql, because it does not need the tables when it is created
    create or replace function marts.bars_as_of(known_by timestamptz) returns table (
        crypto_id text, opened_at timestamptz, open numeric, high numeric, low numeric, close numeric, volume numeric,
        quote_volume numeric, trade_count bigint, taker_buy_volume numeric, binance_symbol text, known_at timestamptz
    ) language plpgsql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $function$
    #variable_conflict use_column
    begin
        return query
        with versions as (

            -- the present value, where it was known already
            select {{ columns | join(', ') }}, loaded_at
            from raw.binance_klines
            where interval = '1h' and loaded_at <= known_by

            union all

            -- else the value before the first restatement since then
            select {% for column in columns %}earlier.{{ column }}, {% endfor %}restated.old_loaded_at
            from (
                select distinct on (record_key) old_record, old_loaded_at
                from ops.restatements
                where dataset = 'binance_klines' and record_key ->> 'interval' = '1h' and restated_at > known_by
                order by record_key, restated_at, restatement_id
            ) as restated
            cross join lateral jsonb_populate_record(null::raw.binance_klines, restated.old_record) as earlier
            where restated.old_loaded_at <= known_by

        ),

        bars as (

            select
                symbol as binance_symbol,
                open_time as opened_at,
                close_time as closed_at,
                open, high, low, close, volume, quote_volume, trade_count, batch_id, loaded_at,
                taker_buy_base_volume as taker_buy_volume
            from versions

        ),

        valid_bars as (

            select * from bars where ({{ invalid_bar_reason() }}) is null

        )

        select
            universe.crypto_id, bars.opened_at, bars.open, bars.high, bars.low, bars.close, bars.volume,
            bars.quote_volume, bars.trade_count, bars.taker_buy_volume, bars.binance_symbol, bars.loaded_at
        from valid_bars as bars
        inner join raw.universe
            on bars.binance_symbol = universe.binance_symbol
            and bars.opened_at >= coalesce({{ utc_midnight('universe.valid_from') }}, '-infinity')
            and bars.opened_at < coalesce({{ utc_midnight('universe.valid_to') }}, 'infinity');
    end
    $function$;
    revoke execute on function marts.bars_as_of(timestamptz) from public;
    grant execute on function marts.bars_as_of(timestamptz) to dashboard_ro, quality_ro, reader;
    comment on function marts.bars_as_of(timestamptz) is '{{ version }}';
end $create$
{%- endmacro %}
