"""Every SQL statement of the dashboard: one cached function each, bound parameters, schema marts and nothing else.

Belongs here: what is read, and at which grain. Does not: connections (`database`), numbers that depend on a choice of
the visitor (`analysis`), wording. Results are kept for a minute; an old one is served while a new one is fetched, and a
failure is never kept. All functions raise MartsError.
"""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import ParamSpec

import pandas as pd
import streamlit as st

from dashboard.database import fetch_frame

Parameters = ParamSpec("Parameters")


def cached(seconds: int) -> Callable[[Callable[Parameters, pd.DataFrame]], Callable[Parameters, pd.DataFrame]]:
    """Keep results for `seconds`, refreshed behind the visitor's back, and no more than 200 of them."""
    return st.cache_data(ttl=seconds, refresh_mode="background", max_entries=200, show_spinner=False)


@cache
def tables_by_page() -> dict[str, frozenset[str]]:
    """Return the marts that each page of views/ reads, by file name; what the shell reads counts for every page."""
    source = Path(__file__).read_text(encoding="utf-8")
    functions = {
        part.partition("(")[0]: frozenset(re.findall(r"\bmarts\.(\w+)", part))
        for part in re.split(r"\ndef ", source)[1:]
    }

    def read_by(file: Path) -> set[str]:
        names = re.findall(r"\bqueries\.(\w+)", file.read_text(encoding="utf-8"))
        return {table for name in names for table in functions.get(name, ())}

    shared = read_by(Path(__file__).with_name("shell.py"))
    views = sorted(Path(__file__).with_name("views").glob("*.py"))
    return {view.stem: frozenset(read_by(view) | shared) for view in views}


def pages_by_table() -> dict[str, set[str]]:
    """Return the titles of the pages that read each mart."""
    found: dict[str, set[str]] = {}
    for page, tables in tables_by_page().items():
        for table in tables:
            found.setdefault(table, set()).add(page.replace("_", " ").capitalize())
    return found


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
def dataset_health() -> pd.DataFrame:
    """One row per dataset: its word of health, what that is made of, age against what was promised, rows, gaps."""
    return fetch_frame(
        """
        select
            dataset, source, health, load_health, freshness_health, checks_health, last_data_at, last_loaded_at,
            last_attempt_at, sla_seconds, estimated_rows, failed_checks, warned_checks, open_gaps, rejected_records
        from marts.fct_dataset_health
        order by dataset
        """
    )


@cached(30)
def checks() -> pd.DataFrame:
    """The newest verdict of each check of the last 7 days, failures first, blocking ones before others."""
    return fetch_frame(
        """
        select
            dataset, asset, check_name, source, severity, status, is_blocking, observed, expected, failed_rows,
            left(sample::text, 10000) as sample, checked_at, run_id
        from marts.fct_check_results
        where is_latest
        order by (status = 'passed'), (severity = 'warn'), not is_blocking, asset, check_name
        """
    )


@cached(30)
def runs() -> pd.DataFrame:
    """The newest 40 runs, oldest first: what ran, when and how long, how it ended, rows fetched and changed."""
    return fetch_frame(
        """
        select *
        from (
            select run_id, job, started_at, ended_at, seconds, status, fetched_rows, changed_rows, error
            from marts.fct_runs
            order by started_at desc
            limit 40
        ) as newest
        order by started_at
        """
    )


@cached(30)
def incidents() -> pd.DataFrame:
    """What is wrong and what was within 7 days, open ones first, the newest first; at most 50."""
    return fetch_frame(
        """
        select
            incident_id, kind, severity, title, detail, run_id, incident_opened_at, recovered_at, is_open,
            reopened_count, sent_alerts, waiting_alerts, refused_alerts, alert_error
        from marts.fct_incidents
        where is_open or recovered_at > now() - interval '7 days'
        order by is_open desc, (severity = 'error') desc, incident_opened_at desc
        limit 50
        """
    )


@cached(60)
def source_requests() -> pd.DataFrame:
    """How each API answered in each hour of the last 7 days, oldest first."""
    return fetch_frame(
        """
        select
            source, hour_started_at, requests, errors_4xx, errors_429, errors_5xx, unanswered, retries, bytes,
            latency_p50_ms, latency_p95_ms
        from marts.fct_source_requests
        order by source, hour_started_at
        """
    )


@cached(300)
def missing_bars() -> pd.DataFrame:
    """Hours without a bar of each tracked asset on each of the newest 60 finished days, where any is missing.

    Columns crypto_id, symbol, name, date, missing. Days before an asset's first bar, and after its last, do not count.
    """
    return fetch_frame(
        """
        with days as (
            select newest.date - n as date
            from (select max(date) as date from marts.fct_daily_summary) as newest
            cross join generate_series(0, 59) as n
        )
        select c.crypto_id, c.symbol, c.name, days.date, 24 - coalesce(d.bar_count, 0) as missing
        from marts.dim_crypto as c
        inner join days
            on days.date > (c.first_bar_at at time zone 'UTC')::date
            and days.date <= (c.last_bar_at at time zone 'UTC')::date
        left join marts.fct_daily_summary as d on c.crypto_id = d.crypto_id and days.date = d.date
        where coalesce(d.bar_count, 0) < 24
        order by c.market_cap_rank nulls last, c.crypto_id, days.date
        """
    )


@cached(300)
def bars_per_day() -> pd.DataFrame:
    """Hourly bars and assets of each of the newest 90 finished days, oldest first."""
    return fetch_frame(
        """
        select date, sum(bar_count)::bigint as bars, count(*) as assets
        from marts.fct_daily_summary
        where date > (select max(date) from marts.fct_daily_summary) - 90
        group by date
        order by date
        """
    )


@cached(60)
def divergence() -> pd.DataFrame:
    """The ten assets whose price at CoinGecko and newest close at Binance differ most, in percent."""
    return fetch_frame(
        """
        select
            apart.crypto_id, apart.symbol, coin.name, apart.snapshot_at, apart.opened_at, apart.price_usd, apart.close,
            apart.divergence_pct
        from marts.v_price_divergence as apart
        left join marts.dim_crypto as coin on apart.crypto_id = coin.crypto_id
        order by abs(divergence_pct) desc nulls last
        limit 10
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
    """The five coins that rose most over 7 days beyond their usual, on more trading than usual."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, change_7d_pct, turnover
        from marts.v_trending
        order by position
        limit 5
        """
    )


@cached(60)
def busiest() -> pd.DataFrame:
    """The ten coins with most volume in 24 h, and their share in that of all coins of the sweep."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, price_usd, volume_24h_usd, volume_share_pct, turnover
        from marts.v_volume_24h
        order by position
        limit 10
        """
    )


@cached(300)
def core_trends() -> pd.DataFrame:
    """Hourly closes of the last 7 days of the five largest tracked coins, from 100, with the slope of their trend."""
    return fetch_frame(
        """
        select crypto_id, symbol, name, market_cap_rank, opened_at, index_100, slope_pct_per_day
        from marts.v_trendline_core
        where crypto_id in (
            select crypto_id from marts.dim_crypto
            where last_bar_at is not null
            order by market_cap_rank, crypto_id
            limit 5
        )
        order by market_cap_rank, crypto_id, opened_at
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
    """What CoinGecko said of one coin in the newest sweep that had it: one row, or none when none did."""
    return fetch_frame(
        """
        select
            crypto_id, snapshot_at, symbol, name, market_cap_rank, price_usd, market_cap_usd, volume_24h_usd,
            dominance_pct, change_24h_pct, ath_usd, ath_change_pct, ath_at
        from marts.fct_market_snapshots
        where crypto_id = %(crypto_id)s
        order by snapshot_at desc
        limit 1
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
            (array_agg(close order by opened_at))[count(*)] as close,
            sum(volume) as volume,
            sum(quote_volume) as quote_volume,
            sum(trade_count) as trade_count,
            (array_agg(vwap_24h order by opened_at))[count(*)] as vwap,
            (array_agg(ma_7d order by opened_at))[count(*)] as sma_7,
            (array_agg(ma_30d order by opened_at))[count(*)] as sma_30,
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
            started_on::timestamp at time zone 'UTC' as opened_at, open, high, low, close, volume, quote_volume,
            trade_count, vwap, bar_count as hours
        from marts.fct_candles
        where crypto_id = %(crypto_id)s and timeframe = 'week'
        order by started_on
        """,
        crypto_id=crypto_id,
    )


@cached(300)
def daily(crypto_id: str) -> pd.DataFrame:
    """Every finished day of one coin: close, return, indicators, volatility, drawdown, Sharpe ratio and beta."""
    return fetch_frame(
        """
        select
            date, open, high, low, close, volume, quote_volume, trade_count, vwap, return_pct, log_return, sma_7,
            sma_30, sma_200, ema_12, ema_26, sma_20, bb_upper_20, bb_lower_20, rsi_14, macd, macd_signal,
            macd_histogram, atr_14, volatility_7d, volatility_30d, volatility_90d, drawdown_pct, beta_btc_90d,
            sharpe_90d, bar_count
        from marts.fct_daily_summary
        where crypto_id = %(crypto_id)s
        order by date
        """,
        crypto_id=crypto_id,
    )


def export_hours(crypto_id: str, days: int) -> pd.DataFrame:
    """Hourly bars and metrics of the `days` before the newest one, every number as the database writes it."""
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
                or d.date > (
                    select max(date) from marts.fct_daily_summary where crypto_id = %(crypto_id)s
                ) - %(days)s::int
            )
        order by d.date
        """,
        crypto_id=crypto_id,
        days=days,
    )


# -- sentiment -----------------------------------------------------------------------------------------------------


@cached(300)
def sentiment() -> pd.DataFrame:
    """Every day of the Fear & Greed index beside bitcoin's close and return of the day, oldest first."""
    return fetch_frame(
        """
        select date, value, classification, change_1d, mean_30d, btc_close, btc_return_pct, btc_return_next_week_pct
        from marts.fct_sentiment_daily
        order by date
        """
    )


@cached(300)
def sentiment_returns() -> pd.DataFrame:
    """What bitcoin did the day and the week after days of each class, with the number of days."""
    return fetch_frame(
        """
        select
            classification, horizon, n, mean_return_pct, median_return_pct, stddev_return_pct, positive_pct,
            mean_error_95_pct
        from marts.fct_sentiment_returns
        order by horizon, classification
        """
    )


@cached(300)
def volume_per_day() -> pd.DataFrame:
    """Traded volume of all tracked assets, and of bitcoin, on each finished day, in USDT, oldest first."""
    return fetch_frame(
        """
        select
            date,
            sum(quote_volume)::float8 as volume_usd,
            sum(quote_volume) filter (where crypto_id = 'bitcoin')::float8 as btc_volume_usd
        from marts.fct_daily_summary
        group by date
        order by date
        """
    )


# -- compare -------------------------------------------------------------------------------------------------------


@cached(300)
def daily_closes(crypto_ids: tuple[str, ...], days: int | None) -> pd.DataFrame:
    """Daily closes of some coins over the newest `days` (None: all), one row per coin and day."""
    return fetch_frame(
        """
        select crypto_id, date, close
        from marts.fct_daily_summary
        where
            crypto_id = any(%(crypto_ids)s)
            and (%(days)s::int is null or date > (select max(date) from marts.fct_daily_summary) - %(days)s::int)
        order by date
        """,
        crypto_ids=list(crypto_ids),
        days=days,
    )


@cached(300)
def hourly_closes(crypto_ids: tuple[str, ...], days: int) -> pd.DataFrame:
    """Hourly closes of some coins over the `days` before the newest bar of any, one row per coin and hour."""
    return fetch_frame(
        """
        select crypto_id, opened_at as date, close
        from marts.fct_prices
        where
            crypto_id = any(%(crypto_ids)s)
            and opened_at > (select max(last_bar_at) from marts.dim_crypto) - %(days)s * interval '1 day'
        order by opened_at
        """,
        crypto_ids=list(crypto_ids),
        days=days,
    )


@cached(300)
def latest_risk() -> pd.DataFrame:
    """The newest finished day of each tracked asset: 90-day volatility, Sharpe ratio, beta, drawdown, size."""
    return fetch_frame(
        """
        select
            c.crypto_id, c.symbol, c.name, c.market_cap_rank, d.date, d.close, d.volatility_90d, d.sharpe_90d,
            d.beta_btc_90d, d.drawdown_pct, d.quote_volume, before.close as close_before
        from marts.dim_crypto as c
        cross join lateral (
            select * from marts.fct_daily_summary as s where s.crypto_id = c.crypto_id order by s.date desc limit 1
        ) as d
        left join marts.fct_daily_summary as before on c.crypto_id = before.crypto_id and d.date - 90 = before.date
        order by c.market_cap_rank nulls last, c.crypto_id
        """
    )


@cached(300)
def correlations(crypto_ids: tuple[str, ...], window_days: int) -> pd.DataFrame:
    """Correlation of each pair of the given coins on the newest day, over 30, 90 or 365 days, with its n."""
    return fetch_frame(
        """
        select a.crypto_id as crypto_id_a, b.crypto_id as crypto_id_b, pair.date, pair.correlation, pair.n
        from unnest(%(crypto_ids)s) as a (crypto_id)
        inner join unnest(%(crypto_ids)s) as b (crypto_id) on a.crypto_id < b.crypto_id
        cross join lateral (
            select c.date, c.correlation, c.n
            from marts.fct_correlations_daily as c
            where
                c.crypto_id_a = a.crypto_id
                and c.crypto_id_b = b.crypto_id
                and c.window_days = %(window_days)s
            order by c.date desc
            limit 1
        ) as pair
        """,
        crypto_ids=list(crypto_ids),
        window_days=window_days,
    )


@cached(300)
def correlation_history(crypto_id_a: str, crypto_id_b: str, window_days: int) -> pd.DataFrame:
    """Correlation of one pair through time, oldest first."""
    return fetch_frame(
        """
        select date, correlation, n
        from marts.fct_correlations_daily
        where
            -- by the database's order of text, which is that of the mart, and need not be Python's
            crypto_id_a = least(%(first)s::text, %(second)s::text)
            and crypto_id_b = greatest(%(first)s::text, %(second)s::text)
            and window_days = %(window_days)s
        order by date
        """,
        first=crypto_id_a,
        second=crypto_id_b,
        window_days=window_days,
    )
