"""The window of a metric, read from the formula in its definition, and how complete the bars in it are."""

import re
from dataclasses import dataclass

import pandas as pd

HOURS_OF = {"h": 1, "d": 24}


@dataclass(frozen=True)
class Window:
    """The bars that a value is made of: every one of [since, until], or single ones."""

    since: pd.Timestamp
    until: pd.Timestamp
    bars: pd.DatetimeIndex


def hourly_window(formula: str, at: pd.Timestamp) -> Window:
    """Return the hours of a metric of fct_prices: (t - 24 h, t], t and t - 1 h, since midnight, or t alone."""
    if trailing := re.search(r"\(t - (\d+) ([hd]), t\]", formula):
        hours = int(trailing[1]) * HOURS_OF[trailing[2]]
        # Returns begin with the close before the window.
        first = at - pd.Timedelta(hours=hours - (0 if "return" in formula else 1))
        bars = pd.date_range(first, at, freq="h")
    elif earlier := re.search(r"\(t - (\d+) h\)", formula):
        bars = pd.DatetimeIndex([at - pd.Timedelta(hours=int(earlier[1])), at])
    elif "00:00 UTC" in formula:
        bars = pd.date_range(at.floor("D"), at, freq="h")
    else:
        bars = pd.DatetimeIndex([at])
    return Window(bars[0], bars[-1], bars)


def daily_window(formula: str, date: pd.Timestamp, first: pd.Timestamp) -> Window:
    """Return the days of a metric of fct_daily_summary: 30 days, the day and the one before, all so far, or one."""
    if rows := re.search(r"over (\d+) days", formula):
        days = int(rows[1]) + (1 if "return" in formula else 0)
        since = date - pd.Timedelta(days=days - 1)
    elif "close(d - 1)" in formula and "atr" not in formula and "average" not in formula:
        since = date - pd.Timedelta(days=1)
    elif re.search(r"\(d - 1\)|ema_|macd|average|highest|so far|sma_", formula):
        since = first
    else:
        since = date
    bars = pd.date_range(max(since, first), date, freq="D")
    return Window(bars[0], bars[-1], bars)
