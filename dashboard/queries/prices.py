"""Reads candles, daily metrics and correlations of tracked coins."""

import json
from datetime import datetime
from decimal import Decimal

import pandas as pd

from dashboard.database import fetch_frame
from dashboard.queries.cache import cached_query


@cached_query(60)
def latest_bar(crypto_id: str) -> pd.DataFrame:
    """Return the newest hourly bar of one coin: close and changes; no row without bars."""
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


HOURS = """
select
    opened_at, open, high, low, close, volume, quote_volume, trade_count, vwap_session as vwap,
    ma_7d as sma_7, ma_30d as sma_30, 1 as hours
from marts.fct_prices
where crypto_id = %(crypto_id)s and opened_at >= %(since)s and opened_at < %(until)s
order by opened_at
"""
FOUR_HOURS = """
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
    and opened_at >= date_bin('4 hours', %(since)s, 'epoch')
    and opened_at < %(until)s
group by 1
order by 1
"""
CANDLES = """
select
    started_on::timestamp at time zone 'UTC' as opened_at, open, high, low, close, volume, quote_volume,
    trade_count, vwap, bar_count as hours
from marts.fct_candles
where
    crypto_id = %(crypto_id)s
    and timeframe = %(timeframe)s
    and started_on >= date_trunc(%(timeframe)s, %(since)s at time zone 'UTC')::date
    and started_on < %(until)s at time zone 'UTC'
order by started_on
"""


@cached_query(60)
def hourly(crypto_id: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return the hourly candles of one coin that open in [since, until), with averages and session VWAP."""
    return fetch_frame(HOURS, crypto_id=crypto_id, since=since, until=until)


@cached_query(60)
def four_hourly(crypto_id: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return 4h candles (00, 04, … 20 UTC) that overlap [since, until); averages are those of their last hour."""
    return fetch_frame(FOUR_HOURS, crypto_id=crypto_id, since=since, until=until)


@cached_query(300)
def candles(crypto_id: str, timeframe: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return candles of ISO weeks or calendar months (`week`, `month`) that overlap [since, until).

    `hours` is below the hours of the period if it is incomplete or has gaps.
    """
    return fetch_frame(CANDLES, crypto_id=crypto_id, timeframe=timeframe, since=since, until=until)


@cached_query(300)
def daily(crypto_id: str) -> pd.DataFrame:
    """Return every complete day of one coin: OHLC, return, indicators, volatility, drawdown, Sharpe ratio, beta."""
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


def export_hours(crypto_id: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return hourly bars and metrics that open in [since, until) as text, with all digits of the database."""
    return fetch_frame(
        """
        select
            to_char(opened_at, 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as opened_at, crypto_id, open::text, high::text, low::text,
            close::text, volume::text, quote_volume::text, trade_count, vwap_1h::text, vwap_session::text,
            vwap_24h::text, return_1h_pct::text, change_24h_pct::text, change_7d_pct::text, ma_7d::text, ma_30d::text,
            volatility_24h::text, volatility_7d::text, volatility_30d::text
        from marts.fct_prices as p
        where crypto_id = %(crypto_id)s and p.opened_at >= %(since)s and p.opened_at < %(until)s
        order by p.opened_at
        """,
        crypto_id=crypto_id,
        since=since,
        until=until,
    )


def export_four_hours(crypto_id: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return the rows of four_hourly with exact decimals."""
    return _export(FOUR_HOURS, crypto_id=crypto_id, since=since, until=until)


def export_candles(crypto_id: str, timeframe: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return the rows of candles with exact decimals."""
    return _export(CANDLES, crypto_id=crypto_id, timeframe=timeframe, since=since, until=until)


def _export(bars: str, crypto_id: str, **parameters: object) -> pd.DataFrame:
    """Return the rows of a query of bars with exact decimals."""
    frame = fetch_frame(
        "select row_to_json(bars)::text as bar from (" + bars + ") as bars",  # noqa: S608 - a constant
        crypto_id=crypto_id,
        **parameters,
    )
    rows = [json.loads(bar, parse_float=Decimal) for bar in frame["bar"]]
    exported = pd.DataFrame(rows)
    if exported.empty:
        return exported
    exported["opened_at"] = pd.to_datetime(exported["opened_at"], utc=True)
    exported.insert(1, "crypto_id", crypto_id)
    return exported.drop(columns=["sma_7", "sma_30"], errors="ignore").rename(columns={"hours": "bar_count"})


def export_days(crypto_id: str, since: datetime, until: datetime) -> pd.DataFrame:
    """Return daily bars and indicators of the days in [since, until) as text, with all digits of the database."""
    return fetch_frame(
        """
        select
            to_char(date, 'YYYY-MM-DD') as date, crypto_id, open::text, high::text, low::text, close::text,
            volume::text, quote_volume::text, trade_count, vwap::text, return_pct::text, sma_7::text, sma_20::text,
            sma_30::text, sma_200::text, ema_12::text, ema_26::text, bb_upper_20::text, bb_lower_20::text, rsi_14::text,
            macd::text, macd_signal::text, macd_histogram::text, atr_14::text, volatility_7d::text,
            volatility_30d::text, volatility_90d::text, drawdown_pct::text, beta_btc_90d::text, sharpe_90d::text,
            bar_count
        from marts.fct_daily_summary as d
        where
            crypto_id = %(crypto_id)s
            and d.date >= (%(since)s at time zone 'UTC')::date
            and d.date < (%(until)s at time zone 'UTC')::date
        order by d.date
        """,
        crypto_id=crypto_id,
        since=since,
        until=until,
    )


@cached_query(300)
def daily_closes(crypto_ids: tuple[str, ...], since: datetime, until: datetime) -> pd.DataFrame:
    """Return daily closes and returns of the given coins on the days in [since, until), one row per coin and day."""
    return fetch_frame(
        """
        select crypto_id, date, close, return_pct, log_return
        from marts.fct_daily_summary
        where
            crypto_id = any(%(crypto_ids)s)
            and date >= (%(since)s at time zone 'UTC')::date
            and date < (%(until)s at time zone 'UTC')::date
        order by date, crypto_id
        """,
        crypto_ids=list(crypto_ids),
        since=since,
        until=until,
    )


@cached_query(300)
def hourly_closes(crypto_ids: tuple[str, ...], since: datetime, until: datetime) -> pd.DataFrame:
    """Return hourly closes of the given coins in [since, until), one row per coin and hour."""
    return fetch_frame(
        """
        select crypto_id, opened_at as date, close
        from marts.fct_prices
        where crypto_id = any(%(crypto_ids)s) and opened_at >= %(since)s and opened_at < %(until)s
        order by opened_at, crypto_id
        """,
        crypto_ids=list(crypto_ids),
        since=since,
        until=until,
    )


@cached_query(300)
def latest_risk() -> pd.DataFrame:
    """Return the newest complete day of each tracked asset: 90-day volatility, Sharpe ratio, beta, drawdown."""
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


@cached_query(300)
def correlations(crypto_ids: tuple[str, ...], window_days: int) -> pd.DataFrame:
    """Return the newest correlation of each pair of the given coins over 30, 90 or 365 days, with its n."""
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


@cached_query(300)
def correlation_history(crypto_id_a: str, crypto_id_b: str, window_days: int) -> pd.DataFrame:
    """Return the rolling correlation of one pair, oldest first."""
    return fetch_frame(
        """
        select date, correlation, n
        from marts.fct_correlations_daily
        where
            -- ordered by the collation of the database, as in the mart; Python's order can differ
            crypto_id_a = least(%(first)s::text, %(second)s::text)
            and crypto_id_b = greatest(%(first)s::text, %(second)s::text)
            and window_days = %(window_days)s
        order by date
        """,
        first=crypto_id_a,
        second=crypto_id_b,
        window_days=window_days,
    )
