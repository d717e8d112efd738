"""Time ranges and candle sizes: bounds of a range, the bar size it uses, and where bars are missing."""

from dataclasses import dataclass
from datetime import date
from typing import Literal

import pandas as pd

Bar = Literal["1h", "4h", "1d", "1w", "1mo"]
INTERVALS: dict[str, Bar | None] = {"Auto": None, "1h": "1h", "4h": "4h", "1D": "1d", "1W": "1w", "1M": "1mo"}
STEP: dict[Bar, str] = {"1h": "1h", "4h": "4h", "1d": "1D", "1w": "7D", "1mo": "MS"}  # pandas frequencies
BARS_PER_DAY: dict[Bar, float] = {"1h": 24, "4h": 6, "1d": 1, "1w": 1 / 7, "1mo": 12 / 365}
INTRADAY: tuple[Bar, ...] = ("1h", "4h")
RANGES: dict[str, int | None] = {"1D": 1, "7D": 7, "1M": 30, "3M": 91, "1Y": 365, "All": None}  # days
MAX_BARS = 720  # browsers stutter when zooming beyond about 1,000 candles
MAX_CHOSEN_BARS = 1_100  # of an interval that the user chose: 4h over half a year, 1h over 45 days
DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Period:
    """A time range: a preset with its number of days (None: the full history), or dates, both included."""

    name: str
    days: int | None = None
    first: date | None = None
    last: date | None = None

    @property
    def is_custom(self) -> bool:
        """Return whether the range was chosen by dates."""
        return self.first is not None or self.last is not None

    def bounds(
        self, since: pd.Timestamp, until: pd.Timestamp, *, whole_days: bool = True
    ) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Return start and end (not included) in UTC within a history from `since` to `until`.

        A preset ends with the last complete day, or with the newest hour unless `whole_days`.
        """
        end = until.floor("D") if whole_days else until
        if self.last is not None:
            end = min(end, pd.Timestamp(self.last, tz="UTC") + DAY)
        if self.first is not None:
            return max(since, pd.Timestamp(self.first, tz="UTC")), end
        return (since if self.days is None else end - self.days * DAY), end


def choose_bar(period: Period, history_days: int) -> Bar:
    """Return the bar size of a range with at most about MAX_BARS bars: 1h to 7 days, 4h to 31, 1d to 720, then 1w."""
    days = history_days if period.days is None else period.days
    if period.days is not None or period.is_custom:
        if days <= 7:
            return "1h"
        if days <= 31:
            return "4h"
    return "1d" if days <= MAX_BARS else "1w"


def limited(bar: Bar, days: float) -> Bar:
    """Return the bar size, or the next larger one that draws at most MAX_CHOSEN_BARS bars."""
    sizes = list(BARS_PER_DAY)
    fitting = (size for size in sizes[sizes.index(bar) :] if BARS_PER_DAY[size] * days <= MAX_CHOSEN_BARS)
    return next(fitting, sizes[-1])


def full_hours(bar: Bar, opened_at: pd.Timestamp) -> int:
    """Return the number of hours of a complete bar."""
    if bar == "1mo":
        return opened_at.days_in_month * 24
    return {"1h": 1, "4h": 4, "1d": 24, "1w": 168}[bar]


def with_gaps(bars: pd.DataFrame, bar: Bar) -> pd.DataFrame:
    """Insert an empty row for each missing bar, so that lines break where no trades happened."""
    if len(bars) < 2:
        return bars
    grid = pd.date_range(bars["opened_at"].iloc[0], bars["opened_at"].iloc[-1], freq=STEP[bar], name="opened_at")
    return bars.set_index("opened_at").reindex(grid).reset_index()


def last_closes(closes: pd.DataFrame, bar: Bar) -> pd.DataFrame:
    """Return the last close of each coin (crypto_id, date, close) per bar; hourly or daily closes stay as they are.

    The date of a 4h close is the start of its bar; that of a week or month is its last day, or the newest day loaded.
    """
    if bar in ("1h", "1d") or closes.empty:
        return closes
    if bar == "4h":
        dates = closes["date"].dt.floor("4h")
    else:
        dates = closes["date"].dt.to_period("W" if bar == "1w" else "M").dt.end_time.dt.normalize()
        dates = dates.clip(upper=closes["date"].max())
    return closes.groupby(["crypto_id", dates])["close"].last().reset_index()


@dataclass(frozen=True)
class Event:
    """A mark on the time axis: H for hours without trades, S for the start of the loaded history."""

    at: pd.Timestamp
    letter: str
    text: str


def events(bars: pd.DataFrame, bar: Bar, first_bar_at: pd.Timestamp, limit: int = 40) -> list[Event]:
    """Return the newest `limit` events of a chart's bars: incomplete or missing bars, and the first hour loaded.

    The newest bar can still be incomplete, which is no event.
    """
    if bars.empty:
        return []
    found = []
    if bars["opened_at"].iloc[0] <= first_bar_at:
        found.append(Event(bars["opened_at"].iloc[0], "S", f"Loaded history starts {first_bar_at:%Y-%m-%d %H:%M} UTC"))
    grid = with_gaps(bars, bar)[["opened_at", "hours"]].iloc[:-1]
    expected = grid["opened_at"].map(lambda at: full_hours(bar, at))
    missing = (expected - grid["hours"].fillna(0)).where(grid["opened_at"] >= first_bar_at, 0)
    runs = (missing.eq(0) | ~missing.shift(fill_value=0).gt(0)).cumsum()
    for _, run in grid[missing > 0].groupby(runs):
        hours, start = int(missing[run.index].sum()), run["opened_at"].iloc[0]
        text = f"{hours} hour{'s' if hours != 1 else ''} without trades from {start:%Y-%m-%d %H:%M} UTC"
        found.append(Event(start, "H", text))
    return found[-limit:]
