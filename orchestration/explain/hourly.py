"""The formulas of the hourly metrics, in Python over the bars of a window; independent of the SQL of the marts.

Belongs here: formulas, and why a value is null. Does not: which bars a metric needs (``metrics``), reading them
(``inputs``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pandas as pd

from orchestration.explain.arithmetic import (
    HOUR,
    NullValue,
    Value,
    change_pct,
    deviation,
    log_return,
    mean,
    steps,
    vwap,
)


@dataclass(frozen=True)
class Hours:
    """The valid hourly bars of a window by opening time, its last hour, and when the coin's first bar opened."""

    bars: pd.DataFrame
    at: pd.Timestamp
    first: pd.Timestamp

    def close(self, hours_earlier: int = 0) -> Decimal:
        """Return the close of the bar exactly so many hours earlier."""
        wanted = self.at - hours_earlier * HOUR
        if wanted not in self.bars.index:
            raise NullValue(f"there is no bar at {wanted:%Y-%m-%d %H:%M} UTC")
        close: Any = self.bars.at[wanted, "close"]
        return Decimal(close)

    def require_age(self, hours: int, *, of_returns: bool = False) -> None:
        """Raise NullValue until the series has so many hours of closes, or of returns."""
        full_at = self.first + (hours if of_returns else hours - 1) * HOUR
        if self.at < full_at:
            raise NullValue(
                f"the window is not full: the first bar opened at {self.first:%Y-%m-%d %H:%M} UTC, "
                f"so that values begin at {full_at:%Y-%m-%d %H:%M} UTC"
            )


def hourly_vwap(hours: int) -> Callable[[Hours], Value]:
    """Make the formula of the volume-weighted average price of (t - hours, t]."""

    def formula(rows: Hours) -> Value:
        rows.require_age(hours)
        return vwap(rows)

    return formula


def hourly_change(hours: int) -> Callable[[Hours], Value]:
    """Make the formula of the change against the bar so many hours earlier, in percent."""
    return lambda rows: change_pct(rows.close(), rows.close(hours))


def hourly_log_return(rows: Hours) -> Value:
    """Return the log return against the bar one hour earlier."""
    return log_return(rows.close(), rows.close(1))


def hourly_mean(hours: int) -> Callable[[Hours], Value]:
    """Make the formula of the mean close of (t - hours, t]."""

    def formula(rows: Hours) -> Value:
        rows.require_age(hours)
        return mean(list(rows.bars["close"]))

    return formula


def hourly_volatility(hours: int) -> Callable[[Hours], Value]:
    """Make the formula of the annualized deviation of the log returns of (t - hours, t]."""

    def formula(rows: Hours) -> Value:
        rows.require_age(hours, of_returns=True)
        closes = list(rows.bars["close"])
        follows = steps(rows.bars) == HOUR
        pairs = zip(closes[1:], closes, follows, strict=False)
        returns = [log_return(close, before) for close, before, is_next in pairs if is_next]
        if len(returns) < 2:
            raise NullValue("the window has fewer than two returns")
        return deviation(returns) * math.sqrt(24 * 365)

    return formula
