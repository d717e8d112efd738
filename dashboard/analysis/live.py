"""Live prices as pure functions: which are stale, the watchlist's rows, price through time, averages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

# The exchange sends a ticker of a traded coin every few seconds.
STALE_AFTER_S = 30.0
STOPPED_AFTER_S = 60.0
MINI_CHART_MINUTES = 5


@dataclass(frozen=True)
class Span:
    """A range that ends now: its minutes, and how many minutes a point of its charts has."""

    minutes: int
    bin_minutes: int

    @property
    def hours(self) -> int:
        """The range in hours, at least one."""
        return max(1, self.minutes // 60)


RANGES = {"30 min": Span(30, 1), "2 h": Span(120, 1), "24 h": Span(1440, 10), "7 d": Span(10_080, 60)}


def watchlist(latest: pd.DataFrame, trends: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows of the watchlist: price, changes, spread, age, mini chart of the coins' `trends`."""
    started = latest["crypto_id"].map(trends["first"])
    return pd.DataFrame(
        {
            "Coin": latest["crypto_id"].map(names),
            "Last": latest["last"],
            "24h": latest["change_24h_pct"],
            "2h": (latest["last"] / started - 1) * 100,
            "Spread": latest["spread_bps"],
            "Age": latest["age_s"],
            "24h volume": latest["quote_volume_24h"],
            "Last 2 hours": latest["crypto_id"].map(trends["chart"]),
        }
    )


def trends(minutes: pd.DataFrame) -> pd.DataFrame:
    """Return by coin its first price, and the last price of every five minutes, oldest first: a list of at most 25."""
    spans = minutes["minute"].dt.floor(f"{MINI_CHART_MINUTES}min")
    last = minutes["last"].groupby([minutes["crypto_id"], spans]).last()
    charts = last.groupby(level=0).agg(list)
    return pd.DataFrame({"first": minutes.groupby("crypto_id")["last"].first(), "chart": charts})


def prices_of(
    crypto_ids: Sequence[str], span: Span, recent: pd.DataFrame, older: pd.DataFrame, now: pd.Timestamp
) -> pd.DataFrame:
    """Return the prices of the coins in the range: a column per coin, a row per span of minutes, gaps as NaN."""
    rows = pd.concat([older, recent[recent["crypto_id"].isin(crypto_ids)]], ignore_index=True)
    rows["minute"] = pd.to_datetime(rows["minute"], utc=True)
    rows = rows[rows["minute"] >= now - pd.Timedelta(minutes=span.minutes)]
    if rows.empty:
        return pd.DataFrame(columns=list(crypto_ids), dtype=float)
    rows["minute"] = rows["minute"].dt.floor(f"{span.bin_minutes}min")
    wide = rows.groupby(["minute", "crypto_id"])["last"].last().unstack()
    index = pd.date_range(wide.index[0], wide.index[-1], freq=f"{span.bin_minutes}min", name="minute")
    return wide.reindex(index=index, columns=list(crypto_ids)).astype(float)


def changes_since_start(prices: pd.DataFrame) -> pd.DataFrame:
    """Return the change of each price against its first one in the range, in percent."""
    first = prices.bfill().iloc[:1].to_numpy() if len(prices) else np.nan
    return (prices / first - 1) * 100


def averages(prices: pd.DataFrame) -> pd.DataFrame:
    """Return by coin the mean, lowest, highest and newest of the prices, without coins that have none."""
    found = pd.DataFrame(
        {
            "crypto_id": prices.columns,
            "average": prices.mean().to_numpy(),
            "low": prices.min().to_numpy(),
            "high": prices.max().to_numpy(),
            "last": prices.ffill().iloc[-1].to_numpy() if len(prices) else np.nan,
        }
    )
    return found.dropna(subset=["average"]).sort_values("average", ascending=False, ignore_index=True)
