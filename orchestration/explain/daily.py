"""The formulas of the daily metrics, candles, correlations and the index; independent of the SQL of the marts.

Belongs here: formulas, and why a value is null. Does not: which days a metric needs (``metrics``), reading them
(``inputs``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from itertools import pairwise
from typing import Any

import pandas as pd

from orchestration.explain.arithmetic import (
    COMBINED,
    DAY,
    PRECISION,
    NullValue,
    Value,
    change_pct,
    covariance,
    deviation,
    ema_of,
    log1p,
    log_return,
    mean,
    simple_returns,
    wilder_of,
)


@dataclass(frozen=True)
class Days:
    """Daily bars of a coin up to a day, by date; beside them those of another coin where a metric compares the two."""

    bars: pd.DataFrame
    at: pd.Timestamp
    other: pd.DataFrame | None = None
    # Length of the window in days, where it is part of the mart's key.
    window: int = 0

    def close(self, days_later: int = 0) -> Decimal:
        """Return the close of the day so many days later, or earlier."""
        wanted = self.at + days_later * DAY
        if wanted not in self.bars.index:
            raise NullValue(f"there is no complete day {wanted:%Y-%m-%d} with bars")
        close: Any = self.bars.at[wanted, "close"]
        return Decimal(close)

    def closes(self, days: int) -> list[Decimal]:
        """Return the closes of the last rows."""
        self.require(days)
        return list(self.bars["close"].iloc[-days:])

    def require(self, days: int) -> None:
        """Raise NullValue unless the series has so many rows."""
        if len(self.bars) < days:
            raise NullValue(
                f"the window is not full: this is day {len(self.bars)} of the series, values begin on {days}"
            )

    def returns(self, days: int) -> list[Decimal]:
        """Return the simple returns of the last rows; NullValue if one of them has no day before it."""
        self.require(days + 1)
        found = simple_returns(self.bars.iloc[-days - 1 :])
        rows = self.bars.index[-days:]
        missing = rows.difference(found.index)
        if len(missing):
            raise NullValue(f"{missing[-1]:%Y-%m-%d} has no return, because the day before it has no bar")
        return list(found)


def daily_change(rows: Days) -> Value:
    """Return the simple return of the day in percent."""
    return change_pct(rows.close(), rows.close(-1))


def daily_log_return(rows: Days) -> Value:
    """Return the log return of the day."""
    return log_return(rows.close(), rows.close(-1))


def daily_mean(days: int) -> Callable[[Days], Value]:
    """Make the formula of the mean of the last closes."""
    return lambda rows: mean(rows.closes(days))


def bollinger(side: int) -> Callable[[Days], Value]:
    """Make the formula of the upper (1) or lower (-1) Bollinger band of 20 days."""

    def formula(rows: Days) -> Value:
        closes = rows.closes(20)
        with localcontext(prec=PRECISION):
            middle = sum(closes, Decimal(0)) / 20
            variance = sum(((close - middle) ** 2 for close in closes), Decimal(0)) / 20
        return float(middle) + side * 2 * math.sqrt(variance)

    return formula


def _last(averages: Sequence[float], rows: Days, first_day: int) -> float:
    rows.require(first_day)
    return averages[-1]


def ema(count: int) -> Callable[[Days], Value]:
    """Make the formula of the exponential moving average of the close."""
    return lambda rows: _last(ema_of(_floats(rows), count), rows, count)


def _macd(rows: Days) -> list[float]:
    closes = _floats(rows)
    fast, slow = ema_of(closes, 12), ema_of(closes, 26)
    return [a - b for a, b in zip(fast[14:], slow, strict=True)]


def macd(rows: Days) -> Value:
    """Return the fast exponential average less the slow one."""
    return _last(_macd(rows), rows, 26)


def macd_signal(rows: Days) -> Value:
    """Return the 9-day exponential average of macd."""
    return _last(ema_of(_macd(rows), 9), rows, 34)


def macd_histogram(rows: Days) -> Value:
    """Return macd less its signal."""
    lines = _macd(rows)
    return lines[-1] - _last(ema_of(lines, 9), rows, 34) if lines else _last([], rows, 34)


def average_move(sign: int) -> Callable[[Days], float]:
    """Make the formula of Wilder's average of the gains (1) or losses (-1) of 14 days."""

    def formula(rows: Days) -> float:
        closes = list(rows.bars["close"])
        with localcontext(prec=PRECISION):
            moves = [float(max(sign * (b - a), Decimal(0))) for a, b in pairwise(closes)]
        return _last(wilder_of(moves), rows, 15)

    return formula


def rsi(rows: Days) -> Value:
    """Return Wilder's relative strength index of 14 days."""
    gain, loss = average_move(1)(rows), average_move(-1)(rows)
    if gain + loss == 0:
        raise NullValue("the close has not moved")
    return 100 * (gain / (gain + loss))


def atr(rows: Days) -> Value:
    """Return Wilder's average true range of 14 days."""
    bars = rows.bars[["high", "low", "close"]].itertuples(index=False)
    before, ranges = None, []
    with localcontext(prec=PRECISION):
        for high, low, close in bars:
            if before is not None:
                ranges.append(float(max(high, before) - min(low, before)))
            before = close
    return _last(wilder_of(ranges), rows, 15)


def daily_volatility(days: int) -> Callable[[Days], Value]:
    """Make the formula of the annualized deviation of the last daily log returns."""

    def formula(rows: Days) -> Value:
        return deviation([log1p(change) for change in rows.returns(days)]) * math.sqrt(365)

    return formula


def sharpe(rows: Days) -> Value:
    """Return mean and deviation of the last 90 simple returns as an annualized ratio."""
    changes = [float(change) for change in rows.returns(90)]
    spread = deviation(changes)
    if spread == 0:
        raise NullValue("the returns of the window do not differ")
    return math.fsum(changes) / len(changes) / spread * math.sqrt(365)


def beta(rows: Days) -> Value:
    """Return the slope of the last 90 simple returns on those of bitcoin."""
    own = [float(change) for change in rows.returns(90)]
    assert rows.other is not None
    others = simple_returns(rows.other)
    days = rows.bars.index[-90:]
    missing = days.difference(others.index)
    if len(missing):
        raise NullValue(f"bitcoin has no return on {missing[-1]:%Y-%m-%d}")
    market = [float(change) for change in others.loc[days]]
    variance = covariance(market, market)
    if variance == 0:
        raise NullValue("the returns of bitcoin do not differ in the window")
    return covariance(own, market) / variance


def highest_close(rows: Days) -> Decimal:
    """Return the highest close so far."""
    highest: Decimal = max(rows.bars["close"])
    return highest


def drawdown(rows: Days) -> Value:
    """Return the distance of the close below the highest close so far, in percent."""
    return change_pct(rows.close(), highest_close(rows))


def _floats(rows: Days) -> list[float]:
    return [float(close) for close in rows.bars["close"]]


def row_count(rows: Days) -> int:
    """Return the number of days."""
    return len(rows.bars)


def candle(name: str) -> Callable[[Days], Value]:
    """Make the formula of a column of a candle from its days."""

    def formula(rows: Days) -> Value:
        with localcontext(prec=PRECISION):
            found = COMBINED[name](list(rows.bars[name]))
        return found if isinstance(found, Decimal) else int(found)

    return formula


def _paired_returns(rows: Days) -> tuple[list[float], list[float]]:
    assert rows.other is not None
    since = rows.at - (rows.window - 1) * DAY
    first, second = (simple_returns(days).loc[since:] for days in (rows.bars, rows.other))
    both = first.index.intersection(second.index)
    return [log1p(change) for change in first.loc[both]], [log1p(change) for change in second.loc[both]]


def correlation(rows: Days) -> Value:
    """Return Pearson's correlation of the log returns of two coins on the days that both have."""
    x, y = _paired_returns(rows)
    if len(x) < 2:
        raise NullValue("only one day of the window has returns of both coins")
    scale = math.sqrt(covariance(x, x)) * math.sqrt(covariance(y, y))
    if scale == 0:
        raise NullValue("the price of one coin did not move in the window")
    return min(1.0, max(-1.0, covariance(x, y) / scale))


def pair_count(rows: Days) -> int:
    """Return on how many days of the window both coins have a return."""
    return len(_paired_returns(rows)[0])


def later_change(days: int) -> Callable[[Days], Value]:
    """Make the formula of the change from the day's close to that of a later day, in percent."""
    return lambda rows: change_pct(rows.close(days), rows.close())


@dataclass(frozen=True)
class Index:
    """Values of the Fear & Greed index by date, up to a day."""

    values: pd.Series
    at: pd.Timestamp

    def value(self, days_earlier: int = 0) -> int:
        """Return the value so many days earlier."""
        wanted = self.at - days_earlier * DAY
        if wanted not in self.values.index:
            raise NullValue(f"there is no value of {wanted:%Y-%m-%d}")
        value: Any = self.values.at[wanted]
        return int(value)


def index_change(days: int) -> Callable[[Index], Value]:
    """Make the formula of the change of the index against an earlier day."""
    return lambda rows: rows.value() - rows.value(days)


def index_mean(rows: Index) -> Value:
    """Return the mean of the index over 30 days."""
    return sum(rows.value(days) for days in range(30)) / 30
