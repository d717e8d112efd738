"""Every SQL statement of the dashboard: one cached function each, bound parameters, schema marts and nothing else.

Belongs here: what is read, and at which grain. Does not: connections (`database`), numbers that depend on a choice of
the visitor (`analysis`), wording. Results are kept for a minute; an old one is served while a new one is fetched, and a
failure is never kept. All functions raise MartsError.
"""

from collections.abc import Callable
from typing import ParamSpec

import pandas as pd
import streamlit as st

from dashboard.database import fetch_frame

Parameters = ParamSpec("Parameters")


def cached(seconds: int) -> Callable[[Callable[Parameters, pd.DataFrame]], Callable[Parameters, pd.DataFrame]]:
    """Keep results for `seconds`, refreshed behind the visitor's back, and no more than 200 of them."""
    return st.cache_data(ttl=seconds, refresh_mode="background", max_entries=200, show_spinner=False)


# -- about the data ------------------------------------------------------------------------------------------------


@cached(600)
def definitions() -> pd.DataFrame:
    """Every column of the marts and its definition, as dbt persisted it: relation, column_name, data_type, definition.

    A relation's own description has no column_name.
    """
    return fetch_frame(
        """
        select
            c.relname as relation,
            a.attname as column_name,
            format_type(a.atttypid, a.atttypmod) as data_type,
            case when a.attnum is null then obj_description(c.oid, 'pg_class') else col_description(c.oid, a.attnum) end
                as definition
        from pg_catalog.pg_class as c
        inner join pg_catalog.pg_namespace as n on c.relnamespace = n.oid
        cross join lateral (
            select attnum, attname, atttypid, atttypmod
            from pg_catalog.pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped
            union all
            select null, null, null, null
        ) as a
        where n.nspname = 'marts' and c.relkind in ('r', 'v', 'm', 'p')
        order by c.relname, a.attnum nulls first
        """
    )


@cached(60)
def coins() -> pd.DataFrame:
    """The tracked assets, largest first: identity, first and last bar, rank."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, category, binance_symbol, first_bar_at, last_bar_at, market_cap_rank
        from marts.dim_crypto
        order by market_cap_rank nulls last, crypto_id
        """
    )


@cached(30)
def freshness() -> pd.DataFrame:
    """The newest data of each dataset: dataset, newest_at (a bar counts from its end), null when there is none."""
    return fetch_frame(
        """
        select 'binance_klines' as dataset, max(last_bar_at) + interval '1 hour' as newest_at from marts.dim_crypto
        union all
        select 'coingecko_markets', max(snapshot_at) from marts.fct_market_global
        union all
        select 'fear_greed', max(date)::timestamp at time zone 'UTC' from marts.fct_sentiment_daily
        """
    )


@cached(60)
def sentiment_now() -> pd.DataFrame:
    """The newest 31 days of the Fear & Greed index, oldest first."""
    return fetch_frame(
        """
        select date, value, classification, change_1d, change_7d, mean_30d
        from marts.fct_sentiment_daily
        where date > (select max(date) from marts.fct_sentiment_daily) - 31
        order by date
        """
    )


# -- the market ----------------------------------------------------------------------------------------------------


@cached(60)
def market_now() -> pd.DataFrame:
    """Totals, dominance and breadth of the latest sweep: one row, or none before the first."""
    return fetch_frame(
        """
        select
            snapshot_at, coin_count, total_market_cap_usd, total_volume_24h_usd, market_cap_change_24h_pct, turnover,
            btc_dominance_pct, eth_dominance_pct, advancers, decliners, unchanged, breadth_pct, median_change_24h_pct
        from marts.v_total_market_cap
        """
    )


@cached(60)
def market_history() -> pd.DataFrame:
    """Totals of the last 30 days, the last sweep of every six hours; and of a day ago, for changes over 24 h."""
    return fetch_frame(
        """
        select distinct on (date_bin('6 hours', snapshot_at, 'epoch'))
            snapshot_at, total_market_cap_usd, total_volume_24h_usd, btc_dominance_pct
        from marts.fct_market_global
        where snapshot_at > (select max(snapshot_at) from marts.fct_market_global) - interval '30 days'
        order by date_bin('6 hours', snapshot_at, 'epoch'), snapshot_at desc
        """
    )


@cached(60)
def market_day_ago() -> pd.DataFrame:
    """Totals of the sweep nearest to 24 h before the latest; no row when none lies within an hour of that."""
    return fetch_frame(
        """
        with latest as (
            select max(snapshot_at) - interval '24 hours' as wanted_at from marts.fct_market_global
        )
        select g.snapshot_at, g.total_volume_24h_usd, g.btc_dominance_pct
        from latest
        inner join marts.fct_market_global as g
            on g.snapshot_at between latest.wanted_at - interval '1 hour' and latest.wanted_at + interval '1 hour'
        order by abs(extract(epoch from g.snapshot_at - latest.wanted_at))
        limit 1
        """
    )


@cached(60)
def top_100() -> pd.DataFrame:
    """The hundred largest coins of the latest sweep."""
    return fetch_frame(
        """
        select
            position, crypto_id, symbol, name, image_url, market_cap_rank, price_usd, change_1h_pct, change_24h_pct,
            change_7d_pct, market_cap_usd, dominance_pct, volume_24h_usd, turnover, ath_change_pct, snapshot_at
        from marts.v_top_100
        order by position
        """
    )


@cached(60)
def gainers() -> pd.DataFrame:
    """The five large coins that rose most in 24 hours."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, change_24h_pct, volume_24h_usd
        from marts.v_top_gainers
        order by position
        limit 5
        """
    )


@cached(60)
def trending() -> pd.DataFrame:
    """The five coins that rose over 1 h, 24 h and 7 d and were traded most for their size."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, change_7d_pct, turnover
        from marts.v_trending
        order by position
        limit 5
        """
    )


@cached(300)
def sparklines() -> pd.DataFrame:
    """Closes of the last 7 days of each tracked asset, every fourth hour, oldest first: crypto_id, closes (list)."""
    return fetch_frame(
        """
        select d.crypto_id, week.closes
        from marts.dim_crypto as d
        cross join lateral (
            select array_agg(p.close::float8 order by p.opened_at) as closes
            from marts.fct_prices as p
            where
                p.crypto_id = d.crypto_id
                and p.opened_at > d.last_bar_at - interval '7 days'
                and mod((extract(epoch from d.last_bar_at - p.opened_at) / 3600)::int, 4) = 0
        ) as week
        where week.closes is not null
        """
    )


# -- one coin ------------------------------------------------------------------------------------------------------


@cached(60)
def coin_snapshot(crypto_id: str) -> pd.DataFrame:
    """What CoinGecko says of one coin in the latest sweep: one row, or none when it is not among those swept."""
    return fetch_frame(
        """
        select
            crypto_id, snapshot_at, symbol, name, market_cap_rank, price_usd, market_cap_usd, volume_24h_usd,
            dominance_pct, high_24h_usd, low_24h_usd, change_24h_pct, ath_usd, ath_change_pct, ath_at
        from marts.v_latest_snapshot
        where crypto_id = %(crypto_id)s
        """,
        crypto_id=crypto_id,
    )


@cached(60)
def coin_last_hour(crypto_id: str) -> pd.DataFrame:
    """The newest hourly bar of one coin: close and changes; no row when it has no bars."""
    return fetch_frame(
        """
        select opened_at, close, return_1h_pct, change_24h_pct, change_7d_pct, volatility_24h
        from marts.fct_prices
        where crypto_id = %(crypto_id)s
        order by opened_at desc
        limit 1
        """,
        crypto_id=crypto_id,
    )


@cached(60)
def hourly(crypto_id: str, days: int) -> pd.DataFrame:
    """Hourly candles of one coin over the `days` before its newest bar, with moving averages and session VWAP."""
    return fetch_frame(
        """
        select
            opened_at, open, high, low, close, volume, quote_volume, trade_count, vwap_session as vwap,
            ma_7d as sma_7, ma_30d as sma_30, 1 as hours
        from marts.fct_prices
        where
            crypto_id = %(crypto_id)s
            and opened_at > (
                select max(opened_at) from marts.fct_prices where crypto_id = %(crypto_id)s
            ) - %(days)s * interval '1 day'
        order by opened_at
        """,
        crypto_id=crypto_id,
        days=days,
    )


@cached(60)
def four_hourly(crypto_id: str, days: int) -> pd.DataFrame:
    """Candles of 00, 04, 08, 12, 16 and 20 UTC; averages and VWAP (24 h) as of each candle's last hour."""
    return fetch_frame(
        """
        select
            date_bin('4 hours', opened_at, 'epoch') as opened_at,
            (array_agg(open order by opened_at))[1] as open,
            max(high) as high,
            min(low) as low,
            (array_agg(close order by opened_at desc))[1] as close,
            sum(volume) as volume,
            sum(quote_volume) as quote_volume,
            sum(trade_count) as trade_count,
            (array_agg(vwap_24h order by opened_at desc))[1] as vwap,
            (array_agg(ma_7d order by opened_at desc))[1] as sma_7,
            (array_agg(ma_30d order by opened_at desc))[1] as sma_30,
            count(*) as hours
        from marts.fct_prices
        where
            crypto_id = %(crypto_id)s
            and opened_at >= date_bin('4 hours', (
                select max(opened_at) from marts.fct_prices where crypto_id = %(crypto_id)s
            ), 'epoch') - %(days)s * interval '1 day' + interval '4 hours'
        group by 1
        order by 1
        """,
        crypto_id=crypto_id,
        days=days,
    )


@cached(300)
def weekly(crypto_id: str) -> pd.DataFrame:
    """Candles of ISO weeks over the whole history of one coin; `hours` of a whole week is 168."""
    return fetch_frame(
        """
        select
            date_trunc('week', date, 'UTC') as opened_at,
            (array_agg(open order by date))[1] as open,
            max(high) as high,
            min(low) as low,
            (array_agg(close order by date desc))[1] as close,
            sum(volume) as volume,
            sum(quote_volume) as quote_volume,
            sum(trade_count) as trade_count,
            sum(quote_volume) / nullif(sum(volume), 0) as vwap,
            sum(bar_count) as hours
        from marts.fct_daily_summary
        where crypto_id = %(crypto_id)s
        group by 1
        order by 1
        """,
        crypto_id=crypto_id,
    )


@cached(300)
def daily(crypto_id: str) -> pd.DataFrame:
    """Every finished day of one coin: close, return, indicators, volatility, drawdown, Sharpe ratio and beta."""
    return fetch_frame(
        """
        select
            date, open, high, low, close, volume, quote_volume, trade_count, vwap, return_pct, log_return, sma_7, sma_30, sma_200, ema_12, ema_26,
            sma_20, bb_upper_20, bb_lower_20, rsi_14, macd, macd_signal, macd_histogram, atr_14, volatility_7d,
            volatility_30d, volatility_90d, drawdown_pct, beta_btc_90d, sharpe_90d, bar_count
        from marts.fct_daily_summary
        where crypto_id = %(crypto_id)s
        order by date
        """,
        crypto_id=crypto_id,
    )


def export_hours(crypto_id: str, days: int) -> pd.DataFrame:
    """Hourly bars and metrics of the `days` before the newest one, every number as the database writes it. Not cached."""
    return fetch_frame(
        """
        select
            crypto_id, to_char(opened_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as opened_at, open::text, high::text, low::text,
            close::text, volume::text, quote_volume::text, trade_count, vwap_1h::text, vwap_session::text,
            vwap_24h::text, return_1h_pct::text, change_24h_pct::text, change_7d_pct::text, ma_7d::text, ma_30d::text,
            volatility_24h::text, volatility_7d::text, volatility_30d::text
        from marts.fct_prices as p
        where
            crypto_id = %(crypto_id)s
            and p.opened_at > (
                select max(opened_at) from marts.fct_prices where crypto_id = %(crypto_id)s
            ) - %(days)s * interval '1 day'
        order by p.opened_at
        """,
        crypto_id=crypto_id,
        days=days,
    )


def export_days(crypto_id: str, days: int | None) -> pd.DataFrame:
    """Daily bars and indicators, of the whole history without `days`; every number as the database writes it."""
    return fetch_frame(
        """
        select
            crypto_id, to_char(date, 'YYYY-MM-DD') as date, open::text, high::text, low::text, close::text,
            volume::text, quote_volume::text, trade_count, vwap::text, return_pct::text, sma_7::text, sma_30::text,
            sma_200::text, ema_12::text, ema_26::text, bb_upper_20::text, bb_lower_20::text, rsi_14::text, macd::text,
            macd_signal::text, macd_histogram::text, atr_14::text, volatility_7d::text, volatility_30d::text,
            volatility_90d::text, drawdown_pct::text, beta_btc_90d::text, sharpe_90d::text, bar_count
        from marts.fct_daily_summary as d
        where
            crypto_id = %(crypto_id)s
            and (
                %(days)s::int is null
                or d.date > (select max(date) from marts.fct_daily_summary where crypto_id = %(crypto_id)s) - %(days)s::int
            )
        order by d.date
        """,
        crypto_id=crypto_id,
        days=days,
    )
