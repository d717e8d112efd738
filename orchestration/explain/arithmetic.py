"""Arithmetic that several formulas share: exact decimals until the last step, and averages in the order of TA-Lib.

Belongs here: what knows no metric. Does not: the formulas of hourly (``hourly``) and daily metrics (``daily``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from itertools import pairwise
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pandas as pd

Value = Decimal | float | int | None
HOUR, DAY = pd.Timedelta(hours=1), pd.Timedelta(days=1)
# Digits of intermediate results: a sum of 100,000 amounts of 38 digits on either side of the point is exact.
PRECISION = 100
# How the bars of a longer time become one.
COMBINED: dict[str, Callable[[list[Any]], Any]] = {
    "open": itemgetter(0), "high": max, "low": min, "close": itemgetter(-1), "volume": sum, "quote_volume": sum,
    "trade_count": sum, "bar_count": sum,
}  # fmt: skip


class NullValue(Exception):
    """The value is null; the message is the reason."""


class Rows(Protocol):
    """Input rows that have bars."""

    @property
    def bars(self) -> pd.DataFrame:
        """The bars by time, the newest last."""


def newest(name: str) -> Callable[[Rows], Value]:
    """Make the formula of a column of the newest bar."""

    def formula(rows: Rows) -> Value:
        found: Any = rows.bars[name].iloc[-1]
        return found if isinstance(found, Decimal) else int(found)

    return formula


def vwap(rows: Rows) -> Value:
    """Return the volume-weighted average price of all bars."""
    with localcontext(prec=PRECISION):
        volume = sum(rows.bars["volume"], Decimal(0))
        if not volume:
            raise NullValue("nothing was traded in the window")
        return float(sum(rows.bars["quote_volume"], Decimal(0)) / volume)


def daily_bars(bars: pd.DataFrame) -> pd.DataFrame:
    """Return the bars of each UTC day from hourly ones, with the columns that are given, and `bar_count`."""
    days = pd.DatetimeIndex(bars.index).floor("D")
    starts = [0, *(np.flatnonzero(days[1:] != days[:-1]) + 1)] if len(days) else []
    spans = list(pairwise([*starts, len(days)]))
    # Lists, because pandas takes ten times as long for groups of exact decimals.
    columns = {name: list(bars[name]) for name in COMBINED if name in bars}
    with localcontext(prec=PRECISION):
        combined = {name: [COMBINED[name](cells[a:b]) for a, b in spans] for name, cells in columns.items()}
    return pd.DataFrame(combined | {"bar_count": [b - a for a, b in spans]}, index=days[starts])


def steps(rows: pd.DataFrame) -> pd.Series:
    """Return the time from each row to the next one."""
    return rows.index.to_series().diff().iloc[1:]


def simple_returns(days: pd.DataFrame) -> pd.Series:
    """Return the change of the close of each day that has a day before it, exact to the precision."""
    closes = list(days["close"])
    follows = steps(days) == DAY
    with localcontext(prec=PRECISION):
        pairs = zip(closes[1:], closes, follows, strict=False)
        changes = [(close - before) / before for close, before, is_next in pairs if is_next]
    return pd.Series(changes, index=days.index[1:][follows.to_numpy()], dtype=object)


def log_return(close: Decimal, before: Decimal) -> float:
    """Return ln(close / before), accurate near 1."""
    with localcontext(prec=PRECISION):
        return log1p((close - before) / before)


def log1p(change: Decimal) -> float:
    """Return ln(1 + change)."""
    # Each form keeps all digits on its side of the limit.
    return math.log1p(change) if abs(change) < 0.5 else math.log(1 + change)


def change_pct(value: Decimal, base: Decimal) -> float:
    """Return the change from a base to a value in percent."""
    with localcontext(prec=PRECISION):
        return float((value - base) / base * 100)


def mean(values: Sequence[Decimal]) -> float:
    """Return the mean of exact numbers."""
    with localcontext(prec=PRECISION):
        return float(sum(values, Decimal(0)) / len(values))


def covariance(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the sample covariance; of a series with itself, the variance."""
    mean_x, mean_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    return math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / (len(x) - 1)


def deviation(values: Sequence[float]) -> float:
    """Return the sample standard deviation."""
    return math.sqrt(covariance(values, values))


def _average(values: Sequence[float], count: int, step: Callable[[float, float], float]) -> list[float]:
    """Return a recursive average from the `count`-th value on: it begins with the mean of the first `count` values."""
    if len(values) < count:
        return []
    # Added one by one, as Postgres does: the builtin sum rounds otherwise.
    total = 0.0
    for value in values[:count]:
        total += value
    averages = [total / count]
    for value in values[count:]:
        averages.append(step(averages[-1], value))
    return averages


def ema_of(values: Sequence[float], count: int) -> list[float]:
    """Return TA-Lib's exponential moving average from the `count`-th value on."""
    weight = 2.0 / (count + 1)
    return _average(values, count, lambda last, value: last + weight * (value - last))


def wilder_of(values: Sequence[float]) -> list[float]:
    """Return Wilder's average of 14 values from the 14th value on."""
    return _average(values, 14, lambda last, value: (last * 13 + value) / 14)
