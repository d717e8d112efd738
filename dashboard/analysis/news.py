"""Statistics of news sentiment against returns: lead and lag with a bootstrapped band, the days that stand out."""

import numpy as np
import pandas as pd

from dashboard.analysis.statistics import correlation, is_flat

MIN_DAYS = 30  # correlations over fewer days are noise
MAX_LAG = 7
# Sentiment and volatility last for days: days are drawn in blocks of a week.
BLOCK_DAYS = 7
DRAWS = 1000
SEED = 20
# A mean of fewer scored headlines is that of a headline.
MIN_HEADLINES = 3
DAYS_SHOWN = 3


def joined(sentiment: pd.DataFrame, market: pd.DataFrame) -> pd.DataFrame:
    """Return every day of the market's history with the chosen headlines; a day without any counts 0."""
    own = ["headline_count", "scored_count", "mean_compound", "positive_pct", "negative_pct", "source_count"]
    days = market.drop(columns=[*own, "count_z_90d"])
    found = days.merge(sentiment, on="date", how="left")
    counts = ["headline_count", "scored_count", "source_count"]
    found = found.assign(**found[counts].fillna(0).astype(int))
    return found.assign(count_z_90d=count_z(found["headline_count"]))


def lead_lag(days: pd.DataFrame, max_lag: int = MAX_LAG) -> pd.DataFrame:
    """Return the correlation of mean sentiment with the return some days later: lag, correlation, n, band.

    A positive lag means that sentiment comes first. `band` is the 95% quantile of the absolute correlation when blocks
    of days of both series are drawn independently: that keeps each series' autocorrelation and breaks their relation.
    """
    by_day = days.set_index("date")
    sentiment, returns = by_day["mean_compound"].astype(float), by_day["return_pct"].astype(float)
    rows = []
    for lag in range(-max_lag, max_lag + 1):
        pair = pd.DataFrame({"x": sentiment, "y": returns.shift(-lag)}).dropna()
        n = len(pair)
        r = correlation(pair["x"], pair["y"]) if n >= MIN_DAYS else None
        band = np.nan if r is None else independent_band(pair["x"].to_numpy(), pair["y"].to_numpy())
        rows.append((lag, r, n, band))
    return pd.DataFrame(rows, columns=["lag", "correlation", "n", "band"]).astype({"correlation": float})


def independent_band(x: np.ndarray, y: np.ndarray) -> float:
    """Return the 95% quantile of |r| over draws of both series in blocks, each by itself. Equal for equal input."""
    chosen = np.random.default_rng(SEED)
    n = len(x)
    blocks = -(-n // BLOCK_DAYS)
    first, second = (_drawn(values, chosen, blocks, n) for values in (x, y))
    first, second = (part - part.mean(axis=1, keepdims=True) for part in (first, second))
    spread = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    found = np.divide((first * second).sum(axis=1), spread, out=np.zeros(DRAWS), where=spread > 0)
    return float(np.quantile(np.abs(found), 0.95))


def _drawn(values: np.ndarray, chosen: np.random.Generator, blocks: int, n: int) -> np.ndarray:
    """Return draws of a series (rows) in circular blocks."""
    starts = chosen.integers(0, n, size=(DRAWS, blocks))
    at = (starts[:, :, None] + np.arange(BLOCK_DAYS)).reshape(DRAWS, -1)[:, :n] % n
    return values[at]


def extreme_days(days: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the days with the most negative and the most positive mean, of those with enough scored headlines."""
    enough = days[days["scored_count"] >= MIN_HEADLINES].dropna(subset=["mean_compound"])
    negative = enough[enough["mean_compound"] < 0].nsmallest(DAYS_SHOWN, "mean_compound")
    positive = enough[enough["mean_compound"] > 0].nlargest(DAYS_SHOWN, "mean_compound")
    return negative, positive


def count_z(counts: pd.Series) -> pd.Series:
    """Return how unusual each day's count is against the 90 days before, of which 30 must be known."""
    before = counts.astype(float).shift(1).rolling(90, min_periods=30)
    spread = before.std()
    return ((counts - before.mean()) / spread.where(spread > 0)).astype(float)


def finding(lags: pd.DataFrame) -> tuple[float, float, int] | None:
    """Return correlation, band and n of the next day's return (lag 1), or None without them."""
    rows = lags[(lags["lag"] == 1) & lags["correlation"].notna()]
    if rows.empty or is_flat(lags["correlation"]):
        return None
    row = rows.iloc[0]
    return float(row["correlation"]), float(row["band"]), int(row["n"])
