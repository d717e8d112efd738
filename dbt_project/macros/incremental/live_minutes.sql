{#-
    Which minutes fct_live_1m writes again. A minute has changed when a row of it was loaded after the newest load that the
    model has. raw keeps some days only, so a full refresh keeps the model's older minutes and writes those of raw again.
-#}

{#-
    The load since which rows are read, as a literal. Loads of two writers can be committed out of order; the sink's and the
    collector's transactions last seconds.
-#}
{% macro live_loads_since() -%}
    {%- if flags.FULL_REFRESH or not is_incremental() -%}
        '-infinity'::timestamptz
    {%- else -%}
        '{{ newest_load() }}'::timestamptz - {{ minutes(10) }}
    {%- endif -%}
{%- endmacro %}

{#- Pre-hook: give the written rows the asset that the universe now has for their instrument. -#}
{% macro update_live_assets() -%}
    {%- if is_incremental() -%}
        with recursive written as (
            (select inst_id, crypto_id from {{ this }} order by inst_id, minute desc limit 1)
            union all
            select later.inst_id, later.crypto_id
            from written
            cross join lateral (
                select inst_id, crypto_id from {{ this }} as rows_of_instrument
                where rows_of_instrument.inst_id > written.inst_id
                order by inst_id, minute desc
                limit 1
            ) as later
        )

        update {{ this }} as stale
        set crypto_id = instruments.crypto_id
        from written
        left join {{ ref('int_live_instruments') }} as instruments on written.inst_id = instruments.inst_id
        where
            stale.inst_id = written.inst_id
            and stale.crypto_id is distinct from instruments.crypto_id
            and written.crypto_id is distinct from instruments.crypto_id
    {%- endif -%}
{%- endmacro %}
