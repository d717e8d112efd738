"""The input rows of a value: which window a metric reads, and the rows of raw in it.

Belongs here: windows and reading. Does not: formulas (``hourly``, ``daily``), bronze (``provenance``). Bars and the
index are read through their staging views, which say which rows of raw are invalid.
"""
# ruff: noqa: S608 - names of columns are our own; values are bound

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ingestion.database.connections import Connection
from ingestion.database.one_state import fetch, fetch_dicts
from ingestion.datasets import Dataset
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from orchestration.explain.arithmetic import DAY, HOUR, daily_bars
from orchestration.explain.daily import Days, Index
from orchestration.explain.hourly import Hours

_BARS = """
    from staging.stg_binance__ohlcv
    where
        binance_symbol = %(symbol)s and bar_interval = '1h'
        and opened_at >= greatest(%(valid_from)s::timestamptz, %(since)s) and opened_at < %(valid_to)s::timestamptz
"""
# The newest day of bars of each symbol by index lookups: with a join or the condition alone, Postgres reads all bars
# (1.2 seconds for 50 symbols and 8 months, 0.02 like this).
_NEWEST_BAR = """
    select max(bars.opened_at)
    from staging.stg_tickmart__universe as series
    cross join lateral (
        select symbol, open_time from raw.binance_klines as newest
        where newest.symbol = series.binance_symbol and newest.interval = '1h' and newest.open_time < series.valid_to_at
        order by newest.open_time desc
        limit 24
    ) as newest
    cross join lateral (
        select opened_at from staging.stg_binance__ohlcv as bars
        where
            bars.binance_symbol = newest.symbol and bars.bar_interval = '1h' and bars.opened_at = newest.open_time
            and bars.invalid_reason is null
        offset 0
    ) as bars
"""


@dataclass(frozen=True)
class Target:
    """The row of a mart whose value is explained: its key, and its time as an hour, a UTC day or a snapshot."""

    mart: str
    key: dict[str, Any]
    coin: str
    at: pd.Timestamp
    other: str | None = None
    window_days: int = 0


@dataclass(frozen=True)
class Series:
    """Input rows of one coin, or of the index: those that count, the times expected, and the rows that are invalid."""

    dataset: Dataset
    coin: str | None
    rows: pd.DataFrame
    expected: pd.DatetimeIndex
    first: pd.Timestamp | None = None
    invalid: dict[pd.Timestamp, str] = field(default_factory=dict)

    @property
    def missing(self) -> pd.DatetimeIndex:
        """The expected times since the first row of the series that have no valid row."""
        missing = self.expected.difference(pd.DatetimeIndex(self.rows.index))
        return missing if self.first is None else missing[missing >= self.first]

    @property
    def before_first(self) -> int:
        """How many of the expected times are before the first row of the series."""
        return 0 if self.first is None else int((self.expected < self.first).sum())

    @property
    def symbols(self) -> list[str]:
        """The Binance symbols of the rows."""
        return sorted(self.rows["binance_symbol"].unique()) if "binance_symbol" in self.rows else []


def _symbols(connection: Connection, coin: str) -> list[dict[str, Any]]:
    """Return the symbols of a coin with their validity, as parameters; infinity is no Python time."""
    return fetch_dicts(
        connection,
        "select binance_symbol as symbol, valid_from_at::text as valid_from, valid_to_at::text as valid_to "
        "from staging.stg_tickmart__universe where crypto_id = %s order by valid_from_at",
        (coin,),
    )


def first_bar(connection: Connection, coin: str) -> pd.Timestamp | None:
    """Return when the first valid bar of a coin opened."""
    query = f"select opened_at {_BARS} and invalid_reason is null order by opened_at limit 1"
    found = [
        row for symbol in _symbols(connection, coin) for row in fetch(connection, query, {**symbol, "since": None})
    ]
    return min((pd.Timestamp(opened_at).tz_convert("UTC") for (opened_at,) in found), default=None)


def first_incomplete_day(connection: Connection) -> pd.Timestamp:
    """Return the first day that is not complete: no coin has a bar that closed at its end or later."""
    ((newest,),) = fetch(connection, _NEWEST_BAR)
    return (pd.Timestamp(newest).tz_convert("UTC") + HOUR).floor("D")


def read_bars(
    connection: Connection, coin: str, since: pd.Timestamp | None, until: pd.Timestamp, columns: Iterable[str]
) -> tuple[pd.DataFrame, dict[pd.Timestamp, str]]:
    """Return the valid hourly bars of a coin that open in [since, until), and why the others are invalid."""
    names = list(columns)
    query = (
        "select extract(epoch from opened_at)::bigint, extract(epoch from loaded_at)::double precision, "
        f"binance_symbol, invalid_reason, {', '.join(names)} {_BARS} and opened_at < %(until)s order by opened_at"
    )
    rows = [
        row
        for symbol in _symbols(connection, coin)
        for row in fetch(connection, query, {**symbol, "since": since, "until": until})
    ]
    frame = pd.DataFrame(rows, columns=["opened_at", "loaded_at", "binance_symbol", "invalid_reason", *names])
    frame.index = pd.to_datetime(frame.pop("opened_at"), unit="s", utc=True).dt.as_unit("ns")
    reasons = frame.pop("invalid_reason")
    return frame[reasons.isna()], {pd.Timestamp(at): str(why) for at, why in reasons.dropna().items()}  # type: ignore[arg-type]


def _within(invalid: dict[pd.Timestamp, str], expected: pd.DatetimeIndex) -> dict[pd.Timestamp, str]:
    return {at: why for at, why in invalid.items() if at in expected}


# -- windows ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HourWindow:
    """Hourly bars that open so many hours before the value's hour."""

    hours_earlier: Callable[[pd.Timestamp], Iterable[int]]
    columns: tuple[str, ...] = ("close",)

    def read(self, connection: Connection, target: Target) -> tuple[Hours, list[Series]]:
        """Return the input of the formula, and the rows that it consists of."""
        expected = pd.DatetimeIndex(sorted(target.at - HOUR * n for n in self.hours_earlier(target.at)))
        first = first_bar(connection, target.coin)
        bars, invalid = read_bars(connection, target.coin, expected[0], target.at + HOUR, self.columns)
        bars = bars[bars.index.isin(expected)]
        series = Series(KLINES, target.coin, bars, expected, first, _within(invalid, expected))
        return Hours(bars, target.at, target.at if first is None else first), [series]


def trailing(hours: int, *columns: str) -> HourWindow:
    """Return the window of the last hours, the value's own included."""
    return HourWindow(lambda at: range(hours), columns or ("close",))


def at_hours(*hours_earlier: int, columns: tuple[str, ...] = ("close",)) -> HourWindow:
    """Return the window of single hours."""
    return HourWindow(lambda at: hours_earlier, columns)


def since_midnight(*columns: str) -> HourWindow:
    """Return the window from 00:00 UTC of the value's day."""
    return HourWindow(lambda at: range(at.hour + 1), columns)


@dataclass(frozen=True)
class DayWindow:
    """Hourly bars of days: of the last rows of the daily series, of all its rows, or of certain days."""

    # Of the series: its last rows; None for all.
    last_rows: int | None = None
    # Instead of rows of the series: the days.
    days: Callable[[Target], pd.DatetimeIndex] | None = None
    columns: tuple[str, ...] = ("close",)
    beside: Callable[[Target], str | None] = lambda target: None

    def read(self, connection: Connection, target: Target) -> tuple[Days, list[Series]]:
        """Return the input of the formula, and the rows that it consists of."""
        wanted = self.days(target) if self.days else None
        end = target.at + DAY
        if wanted is not None and wanted[-1] > target.at:
            end = min(wanted[-1] + DAY, first_incomplete_day(connection))
        other = self.beside(target)
        found = [self._read(connection, coin, wanted, end) for coin in (target.coin, other) if coin]
        bars = [days for days, _ in found]
        beside = bars[1] if other else None
        return Days(bars[0], target.at, beside, target.window_days), [series for _, series in found]

    def _read(
        self, connection: Connection, coin: str, wanted: pd.DatetimeIndex | None, end: pd.Timestamp
    ) -> tuple[pd.DataFrame, Series]:
        since = None if wanted is None else wanted[0]
        hours, invalid = read_bars(connection, coin, since, end, self.columns)
        first = first_bar(connection, coin)
        days = daily_bars(hours)
        if wanted is None:
            used = days.index if self.last_rows is None else days.index[-self.last_rows :]
            wanted = pd.date_range(used[0], end - DAY) if len(used) else pd.DatetimeIndex([end - DAY])
        else:
            days = days[days.index.isin(wanted)]
        hour = wanted.repeat(24) + pd.to_timedelta(np.tile(np.arange(24), len(wanted)), unit="h")
        expected = hour[hour < end]
        if self.last_rows is None and self.days is None and first is not None:
            expected = expected[expected >= first]
        rows = hours[hours.index.isin(expected)]
        return days, Series(KLINES, coin, rows, expected, first, _within(invalid, expected))


def last_days(rows: int, *columns: str) -> DayWindow:
    """Return the window of the last rows of the daily series."""
    return DayWindow(rows, columns=columns or ("close",))


def all_days(*columns: str) -> DayWindow:
    """Return the window of the whole series up to the day."""
    return DayWindow(columns=columns or ("close",))


def at_days(*days_later: int, columns: tuple[str, ...] = ("close",)) -> DayWindow:
    """Return the window of single days."""
    return DayWindow(days=lambda target: pd.DatetimeIndex([target.at + DAY * n for n in days_later]), columns=columns)


def days_of_candle(*columns: str) -> DayWindow:
    """Return the window of the complete days of a week or month."""

    def days(target: Target) -> pd.DatetimeIndex:
        length = pd.offsets.MonthBegin(1) if target.key["timeframe"] == "month" else 7 * DAY
        return pd.date_range(target.at, target.at + length, inclusive="left")

    return DayWindow(days=days, columns=columns)


def last_days_beside_bitcoin(rows: int) -> DayWindow:
    """Return the window of the last rows of a coin, beside those of bitcoin."""
    return DayWindow(rows, beside=lambda target: "bitcoin")


def days_of_pair() -> DayWindow:
    """Return the window of the days of two coins, and the day before for the first return."""
    return DayWindow(
        days=lambda target: pd.date_range(target.at - DAY * target.window_days, target.at),
        beside=lambda target: target.other,
    )


@dataclass(frozen=True)
class IndexWindow:
    """Values of the Fear & Greed index so many days before the value's day."""

    days_earlier: tuple[int, ...]

    def read(self, connection: Connection, target: Target) -> tuple[Index, list[Series]]:
        """Return the input of the formula, and the rows that it consists of."""
        expected = pd.DatetimeIndex(sorted(target.at - DAY * n for n in self.days_earlier))
        rows = fetch_dicts(
            connection,
            "select date::timestamp at time zone 'UTC' as at, value, classification, invalid_reason, "
            "extract(epoch from loaded_at)::double precision as loaded_at "
            "from staging.stg_alternative_me__fear_greed where date = any(%s) order by date",
            ([day.date() for day in expected],),
        )
        frame = pd.DataFrame(rows, columns=["at", "value", "classification", "invalid_reason", "loaded_at"])
        frame.index = pd.DatetimeIndex(pd.to_datetime(frame.pop("at"), utc=True)).as_unit("ns")
        reasons = frame.pop("invalid_reason")
        valid = frame[reasons.isna()]
        invalid = {pd.Timestamp(at): str(why) for at, why in reasons.dropna().items()}  # type: ignore[arg-type]
        return Index(valid["value"], target.at), [Series(FEAR_GREED, None, valid, expected, None, invalid)]


@dataclass(frozen=True)
class SnapshotRecord:
    """One coin's record of a market snapshot."""

    columns: tuple[str, ...]

    def read(self, connection: Connection, target: Target) -> tuple[pd.DataFrame, list[Series]]:
        """Return the input of the formula, and the rows that it consists of."""
        rows = fetch_dicts(
            connection,
            "select crypto_id, extract(epoch from loaded_at)::double precision as loaded_at, "
            f"{', '.join(self.columns)} from raw.coingecko_markets where crypto_id = %s and snapshot_at = %s",
            (target.coin, target.at),
        )
        frame = pd.DataFrame(rows, columns=["crypto_id", *self.columns, "loaded_at"], dtype=object)
        expected = pd.DatetimeIndex([target.at])
        frame.index = expected[: len(frame)]
        return frame, [Series(MARKETS, target.coin, frame, expected)]


Window = HourWindow | DayWindow | IndexWindow | SnapshotRecord
