"""Bars of coins by interval, and the hours that a coin lacks. Does not belong here: file formats and folders."""
# ruff: noqa: S608 - names of marts and columns are our own; values are bound

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US
from ingestion.database.connections import Connection
from ingestion.database.one_state import fetch
from ingestion.settings import SettingsError
from orchestration.exports.marts import mart_columns
from orchestration.exports.reading import Numbers, read_table

BAR = ("opened_at", "open", "high", "low", "close", "volume", "quote_volume", "trade_count", "vwap")
# Columns that say how a row was built; they are not part of its value.
_BOOKKEEPING = {
    "known_at", "loaded_at", "series_version", "universe_version", "day_number", "average_gain_14", "average_loss_14",
    "last_date", "day_count", "bar_count", "timeframe", "binance_symbol",
}  # fmt: skip
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Interval:
    """A length of bars: the mart that has them, its column of opening times, and the step in pandas' notation."""

    mart: str
    opened: str
    step: str
    where: str = "true"


INTERVALS = {
    "1h": Interval("fct_prices", "opened_at", "h"),
    "4h": Interval("fct_prices", "opened_at", "4h"),
    "1d": Interval("fct_daily_summary", "date", "D", "close is not null"),
    "1w": Interval("fct_candles", "started_on", "W-MON", "timeframe = 'week'"),
    "1M": Interval("fct_candles", "started_on", "MS", "timeframe = 'month'"),
}
_FOUR_HOURS = """
    select
        crypto_id,
        date_bin('4 hours', opened_at, '2000-01-01 00:00+00') as bin,
        (array_agg(open order by opened_at))[1] as open,
        max(high) as high,
        min(low) as low,
        (array_agg(close order by opened_at desc))[1] as close,
        sum(volume) as volume,
        sum(quote_volume) as quote_volume,
        sum(trade_count)::bigint as trade_count,
        (sum(quote_volume) / nullif(sum(volume), 0))::double precision as vwap
    from ({bars}) as bars
    group by crypto_id, bin"""


@dataclass(frozen=True)
class Coin:
    """A coin with bars: its id, ticker, name, newest symbol, and the times of its first and last hourly bar."""

    crypto_id: str
    ticker: str
    name: str
    binance_symbol: str
    first_bar_at: datetime
    last_bar_at: datetime


@dataclass(frozen=True)
class Gap:
    """Bars that a series lacks, half-open [start, end), and why."""

    start: datetime
    end: datetime
    bars: int
    reason: str


@dataclass(frozen=True)
class Window:
    """Half-open [start, end) of opening times; None is open."""

    start: datetime | None = None
    end: datetime | None = None


def find_coins(connection: Connection, names: Sequence[str]) -> list[Coin]:
    """Return the coins of these ids, tickers or names (any case), all coins with bars if there are none.

    Raises SettingsError if there are no marts or bars, and for a name that no coin has or several have.
    """
    if fetch(connection, "select to_regclass('marts.dim_crypto') is null") == [(True,)]:
        raise SettingsError("there are no marts yet: `tickmart run` builds them")
    rows = fetch(
        connection,
        "select crypto_id, upper(symbol), name, binance_symbol, first_bar_at, last_bar_at from marts.dim_crypto "
        "where first_bar_at is not null and binance_symbol is not null order by crypto_id",
    )
    coins = [Coin(*row) for row in rows]
    if not coins:
        raise SettingsError("there are no bars yet: `tickmart run` loads them")
    found = [_find_coin(coins, name) for name in names] if names else coins
    return sorted(set(found), key=lambda coin: coin.crypto_id)


def _find_coin(coins: Sequence[Coin], name: str) -> Coin:
    wanted = name.strip().lower()
    by_id = [coin for coin in coins if coin.crypto_id == wanted]
    matching = by_id or [c for c in coins if wanted in (c.ticker.lower(), c.name.lower(), c.binance_symbol.lower())]
    if len(matching) == 1:
        return matching[0]
    if matching:
        ids = " or ".join(coin.crypto_id for coin in matching)
        raise SettingsError(f"coin {name!r} is the ticker of several coins: write {ids}")
    raise SettingsError(f"coin {name!r} has no bars: write an id or ticker of marts.dim_crypto, such as bitcoin or BTC")


def read_bars(
    connection: Connection, coin: Coin, interval: str, window: Window, *, numbers: Numbers, metrics: Sequence[str] = ()
) -> pa.Table:
    """Return a coin's bars in the order of time, with these metrics of the mart (see ``metric_columns``).

    Column opened_at is a UTC timestamp for each interval; a day opens at 00:00.
    """
    source = INTERVALS[interval]
    conditions = [f"crypto_id = %(coin)s and {source.where}"]
    if window.start:
        conditions.append(f"{source.opened} >= %(start)s")
    if window.end:
        conditions.append(f"{source.opened} < %(end)s")
    rows = f"select * from marts.{source.mart} where {' and '.join(conditions)}"
    opened = f"{source.opened}::timestamp at time zone 'UTC'" if source.opened != "opened_at" else source.opened
    if interval == "4h":
        query = (
            f"select bin as opened_at, {', '.join(BAR[1:])} from ({_FOUR_HOURS.format(bars=rows)}) as b order by bin"
        )
    else:
        vwap = "vwap_1h as vwap" if interval == "1h" else "vwap"
        columns = [f"{opened} as opened_at", *BAR[1:-1], vwap, *(f'"{name}"' for name in metrics)]
        query = f"select {', '.join(columns)} from ({rows}) as bars order by 1"
    values = {"coin": coin.crypto_id, "start": window.start, "end": window.end}
    with connection.cursor() as cursor:
        bound = cursor.mogrify(query, values).decode()
    return read_table(connection, bound, numbers)


def metric_columns(connection: Connection, interval: str) -> list[str]:
    """Return the columns of an interval's mart that are neither its key nor its bar nor bookkeeping, in their order.

    Bars of four hours have none: they are made of hourly bars, and the metrics of hours do not add up.
    """
    if interval == "4h":
        return []
    known = {"crypto_id", "date", "started_on", "vwap_1h", *BAR} | _BOOKKEEPING
    return [column.name for column in mart_columns(connection, INTERVALS[interval].mart) if column.name not in known]


def find_gaps(connection: Connection, coin: Coin, bars: pa.Table, interval: str) -> list[Gap]:
    """Return the bars that are missing between a coin's first and last one, with the reason of ops.gaps."""
    every = _expected(bars, interval)
    missing = every.difference(_times(bars))
    if missing.empty:
        return []
    reasons = fetch(
        connection,
        "select gap_start, gap_end, kind from ops.gaps where interval = '1h' and symbol in "
        "(select binance_symbol from marts.fct_prices where crypto_id = %s group by 1) order by gap_start",
        (coin.crypto_id,),
    )
    positions = every.get_indexer(missing)
    gaps = []
    for run in np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1):
        start, end = every[run[0]].to_pydatetime(), every[run[-1] + 1].to_pydatetime()
        reason = next((kind for first, last, kind in reasons if first < end and last > start), "unknown")
        gaps.append(Gap(start, end, len(run), reason))
    return gaps


def fill_gaps(bars: pa.Table, interval: str, policy: str) -> pa.Table:
    """Return bars with a row for each missing one: `null` leaves it empty, `ffill` has the close before and no volume.

    With `keep`, missing bars stay missing.
    """
    if policy == "keep" or not bars.num_rows:
        return bars
    times = pa.table({"opened_at": pa.array(_expected(bars, interval), UTC_US)})
    filled = times.join(bars, "opened_at").sort_by("opened_at").select(bars.column_names)
    if policy == "null":
        return filled
    absent = pc.is_null(filled["close"])
    before = pc.fill_null_forward(filled["close"].combine_chunks())
    for name in (*_PRICES, "volume", "quote_volume", "trade_count"):
        values = filled[name].combine_chunks()
        replacement = (
            before if name in _PRICES else pa.scalar("0" if pa.types.is_string(values.type) else 0, values.type)
        )
        filled = filled.set_column(filled.column_names.index(name), name, pc.if_else(absent, replacement, values))
    return filled


def _times(bars: pa.Table) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(bars["opened_at"].to_pandas())


def _expected(bars: pa.Table, interval: str) -> pd.DatetimeIndex:
    """Return every opening time from the first bar to the last one."""
    times = _times(bars)
    if times.empty:
        return times
    return pd.date_range(times[0], times[-1], freq=INTERVALS[interval].step).as_unit("us")


def parse_time(text: str | None, option: str) -> datetime | None:
    """Return a time in UTC from ISO 8601 text; SettingsError if it is none."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{option} {text!r} is not a date or time: write 2024-01-31 or 2024-01-31T12:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def check_window(coins: Sequence[Coin], window: Window) -> None:
    """Raise SettingsError if the window is empty or has no bar of any coin."""
    if window.start and window.end and window.start >= window.end:
        raise SettingsError(f"--start {window.start:%Y-%m-%d %H:%M} is not before --end {window.end:%Y-%m-%d %H:%M}")
    first = min(coin.first_bar_at for coin in coins)
    last = max(coin.last_bar_at for coin in coins) + timedelta(hours=1)
    if (window.end and window.end <= first) or (window.start and window.start >= last):
        raise SettingsError(
            f"there are no bars in this time: they reach from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
        )
