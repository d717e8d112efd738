-- Present hours are the daily rows plus the hours since the last complete day: counting millions of bars takes too long
-- for a page. A renamed asset has several symbols, each within its validity.
with symbols as (

    select
        crypto_id,
        binance_symbol,
        valid_from_at,
        valid_to_at
    from {{ ref('stg_tickmart__universe') }}

),

complete_days as (

    select
        crypto_id,
        sum(bar_count)::integer as hours
    from {{ ref('fct_daily_summary') }}
    group by crypto_id

),

clock as (

    select {{ utc_midnight('max(date) + 1') }} as complete_until from {{ ref('fct_daily_summary') }}

),

halts as (

    select
        symbols.crypto_id,
        sum(gaps.missing_bars)::integer as hours
    from symbols
    inner join {{ ref('stg_tickmart__gaps') }} as gaps
        on symbols.binance_symbol = gaps.binance_symbol
        and symbols.valid_from_at <= gaps.started_at
        and symbols.valid_to_at > gaps.started_at
    inner join {{ ref('dim_crypto') }} as dim
        on symbols.crypto_id = dim.crypto_id
        and gaps.started_at > dim.first_bar_at
        and gaps.ended_at <= dim.last_bar_at
    where
        gaps.bar_interval = '1h'
        and gaps.kind in ('exchange_halt', 'symbol_halt')
    group by symbols.crypto_id

),

asset_symbols as (

    select distinct
        crypto_id,
        binance_symbol
    from symbols

),

restated as (

    select
        asset_symbols.crypto_id,
        count(*)::integer as records
    from asset_symbols
    inner join {{ ref('stg_tickmart__restatements') }} as restatements
        on asset_symbols.binance_symbol = restatements.binance_symbol
    where
        restatements.dataset = 'binance_klines'
        and restatements.bar_interval = '1h'
    group by asset_symbols.crypto_id

),

rejected as (

    select
        asset_symbols.crypto_id,
        count(*)::integer as records
    from asset_symbols
    inner join {{ ref('stg_tickmart__rejected_records') }} as rejections
        on asset_symbols.binance_symbol = rejections.binance_symbol
    where
        rejections.dataset = 'binance_klines'
        and rejections.bar_interval = '1h'
        and rejections.replayed_at is null
    group by asset_symbols.crypto_id

),

counted as (

    select
        dim.crypto_id,
        dim.symbol,
        dim.name,
        dim.binance_symbol,
        dim.first_bar_at,
        dim.last_bar_at,
        (extract(epoch from dim.last_bar_at - dim.first_bar_at) / 3600)::integer + 1 as expected_hours,
        case
            when dim.last_bar_at is not null then coalesce(complete_days.hours, 0) + today.hours
        end as present_hours,
        coalesce(halts.hours, 0) as halted_hours,
        coalesce(restated.records, 0) as restated_records,
        coalesce(rejected.records, 0) as rejected_records
    from {{ ref('dim_crypto') }} as dim
    cross join clock
    left join complete_days on dim.crypto_id = complete_days.crypto_id
    left join halts on dim.crypto_id = halts.crypto_id
    left join restated on dim.crypto_id = restated.crypto_id
    left join rejected on dim.crypto_id = rejected.crypto_id
    cross join lateral (
        select count(*)::integer as hours
        from {{ ref('fct_prices') }} as prices
        where
            prices.crypto_id = dim.crypto_id
            and prices.opened_at >= coalesce(clock.complete_until, '-infinity'::timestamptz)
    ) as today

)

select
    crypto_id,
    symbol,
    name,
    binance_symbol,
    first_bar_at,
    last_bar_at,
    expected_hours,
    present_hours,
    {{ ratio('present_hours', 'expected_hours') }} * 100 as complete_pct,
    -- a halt of an asset whose hours arrived after all counts no more than the hours that are absent
    least(halted_hours, expected_hours - present_hours) as halted_hours,
    expected_hours - present_hours - least(halted_hours, expected_hours - present_hours) as missing_hours,
    restated_records,
    rejected_records
from counted
