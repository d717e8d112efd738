"""Synthetic DataFrames in the shape of the query results: days, candles, a market snapshot, the index."""

import numpy as np
import pandas as pd

from dashboard.analysis.sentiment import CLASSES

DAILY_COLUMNS = (
    "sma_7",
    "sma_30",
    "sma_200",
    "ema_12",
    "ema_26",
    "sma_20",
    "bb_upper_20",
    "bb_lower_20",
    "rsi_14",
    "macd",
    "macd_signal",
    "macd_histogram",
    "atr_14",
    "volatility_7d",
    "volatility_30d",
    "volatility_90d",
    "vwap",
)


def days(n: int, seed: int = 1) -> pd.DataFrame:
    """A random walk of n complete days with every column of queries.prices.daily."""
    noise = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(noise.normal(0, 0.03, n)))
    frame = pd.DataFrame({"date": pd.date_range("2025-01-01", periods=n), "close": close})
    frame["open"] = frame["close"].shift(fill_value=100.0)
    frame["high"] = frame[["open", "close"]].max(axis=1) * 1.01
    frame["low"] = frame[["open", "close"]].min(axis=1) * 0.99
    frame["volume"], frame["quote_volume"], frame["bar_count"] = 5.0, 1e6, 24
    frame["return_pct"] = frame["close"].pct_change() * 100
    frame["log_return"] = np.log(frame["close"] / frame["close"].shift())
    frame["drawdown_pct"] = (frame["close"] / frame["close"].cummax() - 1) * 100
    for number, column in enumerate(DAILY_COLUMNS):
        frame[column] = close * (1 + number / 100)
    return frame


def candles(n: int, freq: str = "h") -> pd.DataFrame:
    """n bars with the columns of queries.prices.hourly."""
    frame = days(n).rename(columns={"date": "opened_at"})
    frame["opened_at"] = pd.date_range("2025-03-01", periods=n, freq=freq, tz="UTC")
    return frame[["opened_at", "open", "high", "low", "close", "quote_volume", "vwap", "sma_7", "sma_30"]].assign(
        hours=1
    )


SNAPSHOT = pd.DataFrame(
    {
        "crypto_id": ["bitcoin", "pepe", "new"],
        "symbol": ["btc", "pepe", "new"],
        "name": ["Bitcoin", "Pepe", "New"],
        "price_usd": [67000.0, 9e-6, np.nan],
        "market_cap_usd": [1.3e12, 4e9, np.nan],
        "volume_24h_usd": [3e10, 2e6, np.nan],
        "volume_share_pct": [90.0, 10.0, np.nan],
        "change_24h_pct": [1.5, -30.0, np.nan],
    }
)


def sentiment_days(n: int) -> pd.DataFrame:
    """n days of the index with the columns of queries.sentiment.sentiment_history."""
    frame = days(n)[["date", "close", "return_pct"]].rename(
        columns={"close": "btc_close", "return_pct": "btc_return_pct"}
    )
    frame["value"] = (np.arange(n) * 7 % 100).astype(float)
    frame["classification"] = [CLASSES[int(v // 20)] for v in frame["value"]]
    frame["change_1d"] = frame["value"].diff()
    return frame
