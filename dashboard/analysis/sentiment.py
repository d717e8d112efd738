"""Statistics of the Fear & Greed index against bitcoin's price and volume."""

import numpy as np
import pandas as pd

from dashboard.analysis.statistics import correlation

CLASSES = ("Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed")
MIN_DAYS = 60  # correlations of daily changes over fewer days are noise


def daily_changes(sentiment: pd.DataFrame, volume: pd.DataFrame) -> pd.DataFrame:
    """Return the daily change of the index, bitcoin's return and the change of its log volume per calendar day.

    Columns: index_change (points), btc_return (percent), volume_change (log). A value is missing if its day or the
    day before has no data.
    """
    days = pd.date_range(sentiment["date"].min(), sentiment["date"].max(), name="date")
    by_day = sentiment.set_index("date").reindex(days)
    traded = volume.set_index("date")["btc_volume_usd"].astype(float).reindex(days)
    logs = np.log(traded.where(traded > 0))
    return pd.DataFrame(
        {
            "index_change": by_day["change_1d"],
            "btc_return": by_day["btc_return_pct"],
            "volume_change": logs - logs.shift(),
        }
    )


def lead_lag(index_change: pd.Series, other: pd.Series, max_lag: int = 14) -> pd.DataFrame:
    """Return the cross-correlation of two daily series at lags −max_lag … +max_lag: lag, correlation, n, band.

    At lag k the index change of a day is paired with the other series k days later: a positive lag means that the
    index leads. `band` is 1.96 / √n, the 95% band of independent series.
    """
    rows = []
    for lag in range(-max_lag, max_lag + 1):
        pair = pd.DataFrame({"index_change": index_change, "other": other.shift(-lag)}).dropna()
        n = len(pair)
        rows.append((lag, correlation(pair["index_change"], pair["other"]), n, 1.96 / np.sqrt(n) if n else np.nan))
    return pd.DataFrame(rows, columns=["lag", "correlation", "n", "band"]).astype({"correlation": float})


def forward_returns(sentiment: pd.DataFrame, days: int = 30) -> pd.DataFrame:
    """Return bitcoin's return in percent over the next `days` days for each day of the index.

    Columns: date, value, classification, forward_pct. Days without a close `days` days later are dropped.
    """
    closes = sentiment.set_index("date")["btc_close"].astype(float)
    later = closes.reindex(closes.index + pd.Timedelta(days=days)).to_numpy()
    found = sentiment[["date", "value", "classification"]].assign(forward_pct=(later / closes.to_numpy() - 1) * 100)
    return found.dropna(subset=["forward_pct"]).reset_index(drop=True)


def by_index_bin(forward: pd.DataFrame, min_days: int = 10) -> pd.DataFrame:
    """Return median, 10th and 90th percentile and n of the forward returns per 10-point bin of the index.

    Columns: middle, low, median, high, n. Bins with fewer than `min_days` days are dropped.
    """
    middle = (forward["value"] // 10).clip(upper=9) * 10 + 5
    groups = forward["forward_pct"].groupby(middle)
    table = pd.DataFrame(
        {"low": groups.quantile(0.1), "median": groups.median(), "high": groups.quantile(0.9), "n": groups.size()}
    )
    return table[table["n"] >= min_days].rename_axis("middle").reset_index()


def significance_band(n: int, days: int) -> float:
    """Return the 95% band of the correlation of unrelated series over n overlapping windows of `days` days.

    Overlapping windows count as n / days independent ones.
    """
    return float(min(1.0, 1.96 / np.sqrt(max(n / days, 1.0))))


def volume_trend(volume: pd.DataFrame) -> pd.DataFrame:
    """Return daily volume with its 7- and 30-day means and its z-score against the last 90 days."""
    traded = volume.set_index("date")["volume_usd"].astype(float)
    last = traded.rolling(90, min_periods=30)
    return pd.DataFrame(
        {
            "volume_usd": traded,
            "mean_7": traded.rolling(7).mean(),
            "mean_30": traded.rolling(30).mean(),
            "z": (traded - last.mean()) / last.std(),
        }
    ).reset_index()
