"""Reads live prices: the newest ticker of each coin, minutes, the stream's messages and delays, gaps, connections.

All sessions share the results, and one of them asks while the others wait: fifty open pages cost as many queries as
one.
"""

from collections.abc import Sequence

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query, live_query


@live_query(1)
def latest() -> pd.DataFrame:
    """Return the newest ticker of each coin, the most traded first."""
    return fetch_frame(
        """
        select
            inst_id, split_part(inst_id, '-', 1) as symbol, crypto_id, name, ts, last, spread_bps, change_24h_pct,
            high_24h, low_24h, quote_volume_24h, age_s
        from marts.v_live_latest
        order by quote_volume_24h desc nulls last, inst_id
        """
    )


@live_query(10)
def recent_minutes() -> pd.DataFrame:
    """Return the last price of each coin and minute of the last two hours, oldest first."""
    return fetch_frame("select crypto_id, minute, last from marts.v_live_minutes order by crypto_id, minute")


@cached_query(60)
def older_minutes(crypto_ids: Sequence[str], hours: int, bin_minutes: int) -> pd.DataFrame:
    """Return the last traded price of the coins in each span of minutes that began up to `hours` hours ago."""
    return fetch_frame(
        """
        select distinct on (crypto_id, 2)
            crypto_id, date_bin(make_interval(mins => %(bin)s), minute, 'epoch') as minute, last
        from marts.fct_live_1m
        where
            crypto_id = any(%(coins)s) and last is not null
            and minute >= now() - make_interval(hours => %(hours)s) and minute < now() - interval '2 hours'
        order by crypto_id, 2, fct_live_1m.minute desc
        """,
        coins=list(crypto_ids),
        hours=hours,
        bin=bin_minutes,
    )


@live_query(10)
def stream_minutes(hours: int, bin_minutes: int) -> pd.DataFrame:
    """Return messages per minute and delays of the stream by span of minutes, oldest first."""
    return fetch_frame(
        """
        select
            date_bin(make_interval(mins => %(bin)s), minute, 'epoch') as minute,
            sum(trade_messages) / %(bin)s::float8 as trades, sum(ticker_count) / %(bin)s::float8 as tickers,
            sum(duplicate_count) as duplicates, sum(rejected_count) as rejected,
            avg(delay_p50_s) as delay_p50_s, max(delay_p95_s) as delay_p95_s
        from marts.v_live_stream_minutes
        where minute >= now() - make_interval(hours => %(hours)s) and minute < date_trunc('minute', now())
        group by 1
        order by 1
        """,
        hours=hours,
        bin=bin_minutes,
    )


@live_query(10)
def status() -> pd.DataFrame:
    """Return the newest state of the stream; no row before its first load."""
    return fetch_frame(
        """
        select committed_at, committed_age_s, broker_bytes, broker_max_bytes, pending_messages, missing_assets, problem
        from marts.v_live_status
        """
    )


@live_query(10)
def gaps() -> pd.DataFrame:
    """Return the newest 200 gaps in trade ids."""
    return fetch_frame(
        """
        select opened_at, inst_id, after_trade_id, before_trade_id, filled_trades, is_filled, closed_at, reason
        from marts.v_live_gaps
        order by opened_at desc, gap_id desc
        limit 200
        """
    )


@live_query(10)
def connections() -> pd.DataFrame:
    """Return the newest 200 connections of the collector."""
    return fetch_frame(
        """
        select connected_at, ended_at, reason
        from marts.v_live_connections
        order by connected_at desc, connection_id desc
        limit 200
        """
    )
