"""Ranges and candle sizes: which bar size a range uses, and where bars are missing."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import pandas as pd

Bar = Literal["1h", "4h", "1d", "1w"]
BAR_LENGTH: dict[Bar, timedelta] = {
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "1w": timedelta(weeks=1),
}
RANGES: dict[str, int | None] = {"1D": 1, "7D": 7, "1M": 30, "3M": 91, "1Y": 365, "All": None}  # days
MAX_BARS = 720  # browsers stutter when zooming beyond about 1,000 candles


@dataclass(frozen=True)
class BarChoice:
    """The bar size of a range, and the number of days it spans (None: the full history)."""

    bar: Bar
    days: int | None


def choose_bar(range_name: str, history_days: int) -> BarChoice:
    """Return the bar size for a range so that at most MAX_BARS bars are drawn: 1D and 7D 1h, 1M 4h, then 1d, 1w."""
    days = RANGES[range_name]
    if days is None:
        return BarChoice("1d" if history_days <= MAX_BARS else "1w", None)
    return BarChoice("1h" if days <= 7 else "4h" if days <= 31 else "1d", days)


def with_gaps(bars: pd.DataFrame, bar: Bar) -> pd.DataFrame:
    """Insert an empty row for each missing bar, so that lines break where no trades happened."""
    if len(bars) < 2:
        return bars
    grid = pd.date_range(bars["opened_at"].iloc[0], bars["opened_at"].iloc[-1], freq=BAR_LENGTH[bar], name="opened_at")
    return bars.set_index("opened_at").reindex(grid).reset_index()
