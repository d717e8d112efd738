"""Moving averages with a number of days that no mart has; the conventions are those of fct_daily_summary (TA-Lib)."""

import numpy as np
import pandas as pd

MART_COLUMNS = ("sma_7", "sma_20", "sma_30", "sma_200", "ema_12", "ema_26")


def with_averages(daily: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Return daily rows with the averages `columns` (sma_<n>, ema_<n>); those of the mart stay as they are."""
    added = {}
    for column in columns:
        kind, _, days = column.partition("_")
        if column not in daily and days.isdigit():
            added[column] = (simple if kind == "sma" else exponential)(daily["close"], int(days))
    return daily.assign(**added)


def simple(closes: pd.Series, days: int) -> pd.Series:
    """Return the mean of the last `days` closes, in USDT. Source: daily closes. Missing for the first days − 1 rows."""
    return closes.rolling(days).mean()


def exponential(closes: pd.Series, days: int) -> pd.Series:
    """Return the exponential average, in USDT: e += 2 / (days + 1) × (close − e), from the mean of the first `days`.

    Source: daily closes from the first one loaded. Missing for the first days − 1 rows.
    """
    if len(closes) < days:
        return pd.Series(np.nan, index=closes.index)
    seeded = closes.astype(float).copy()
    seeded.iloc[: days - 1] = np.nan
    seeded.iloc[days - 1] = closes.iloc[:days].mean()
    return seeded.ewm(alpha=2 / (days + 1), adjust=False, ignore_na=True).mean()
