-- Compares an asset with its own past, so a coin that always swings or always trades much is not trending. The
-- reference is the complete days before this week, at most 90 and at least 14 of them.
with clock as (

    select max(last_bar_at) as newest_bar_at from {{ ref('dim_crypto') }}

),

-- tracked assets that still trade; a pegged coin trades much, but its price only follows
assets as (

    select
        dim.crypto_id,
        dim.symbol,
        dim.name,
        dim.market_cap_rank,
        dim.last_bar_at
    from {{ ref('dim_crypto') }} as dim
    inner join clock on dim.last_bar_at > clock.newest_bar_at - {{ hours(24) }}
    left join {{ ref('int_coin_categories') }} as declared on dim.crypto_id = declared.crypto_id
    where not {{ is_pegged('declared.category', 'dim.category') }}

),

weeks as (

    select
        assets.*,
        newest.close,
        newest.change_24h_pct,
        newest.change_7d_pct,
        week.volume_7d_usd
    from assets
    cross join lateral (
        select
            close,
            change_24h_pct,
            change_7d_pct
        from {{ ref('fct_prices') }} as prices
        where
            prices.crypto_id = assets.crypto_id
            and prices.opened_at = assets.last_bar_at
    ) as newest
    cross join lateral (
        select sum(quote_volume) as volume_7d_usd
        from {{ ref('fct_prices') }} as prices
        where
            prices.crypto_id = assets.crypto_id
            and prices.opened_at > assets.last_bar_at - {{ hours(168) }}
    ) as week

),

compared as (

    select
        weeks.*,
        usual.days as usual_days,
        {{ ratio('weeks.volume_7d_usd / 7', 'usual.volume_usd') }} as volume_ratio,
        -- a price of nearly nothing is -100 % in double precision, which has no logarithm
        {{ ratio(
            'ln(1 + nullif(weeks.change_7d_pct, -100) / 100)', 'usual.deviation * sqrt(7::double precision)'
        ) }} as move_score
    from weeks
    cross join lateral (
        select
            count(log_return)::integer as days,
            avg(quote_volume) as volume_usd,
            stddev_samp(log_return) as deviation
        from {{ ref('fct_daily_summary') }} as daily
        where
            daily.crypto_id = weeks.crypto_id
            and daily.date <= {{ utc_date('weeks.last_bar_at - ' ~ hours(168)) }} - 1
            and daily.date > {{ utc_date('weeks.last_bar_at - ' ~ hours(168)) }} - 91
    ) as usual
    where usual.days >= 14

)

select
    row_number() over (
        order by compared.volume_ratio * compared.move_score desc, compared.crypto_id
    )::integer as position,
    compared.crypto_id,
    compared.symbol,
    compared.name,
    compared.market_cap_rank,
    latest.price_usd,
    compared.change_24h_pct,
    compared.change_7d_pct,
    compared.volume_ratio,
    compared.move_score,
    compared.volume_ratio * compared.move_score as trend_score,
    compared.usual_days,
    compared.volume_7d_usd,
    latest.turnover,
    latest.market_cap_usd,
    latest.volume_24h_usd,
    compared.last_bar_at,
    latest.snapshot_at
from compared
left join {{ ref('v_latest_snapshot') }} as latest on compared.crypto_id = latest.crypto_id
where
    compared.volume_7d_usd >= 7000000
    and compared.volume_ratio > 1
    and compared.move_score > 1
