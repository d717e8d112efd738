"""Statistics that stay undefined (None) for constant or short series."""

import numpy as np
import pandas as pd

from dashboard.formats import is_missing

MIN_RANK_VALUES = 60


def is_flat(values: pd.Series) -> bool:
    """Return whether all known values are equal up to rounding; ranks and correlations are then undefined."""
    known = values.dropna()
    return known.empty or bool(np.isclose(known.min(), known.max(), rtol=1e-9, atol=1e-12))


def correlation(first: pd.Series, second: pd.Series) -> float | None:
    """Return the Pearson correlation of two series, or None if either is constant or they share under 3 values."""
    both = pd.DataFrame({"first": first, "second": second}).dropna()
    if len(both) < 3 or is_flat(both["first"]) or is_flat(both["second"]):
        return None
    return float(both["first"].corr(both["second"]))


def rolling_correlation(first: pd.Series, second: pd.Series, days: int) -> pd.Series:
    """Return the correlation of two daily series over the last `days` days, where at least 90% of them are known."""
    return first.rolling(days, min_periods=int(days * 0.9)).corr(second)


def percentile_of_last(values: pd.Series, window: int) -> float | None:
    """Return the percentile rank of the newest among the last `window` known values; ties count half (mid-rank).

    None with fewer than MIN_RANK_VALUES known values and for constant series.
    """
    known = values.dropna().tail(window)
    if len(known) < MIN_RANK_VALUES or is_missing(values.iloc[-1]) or is_flat(known):
        return None
    last = known.iloc[-1]
    return float(((known < last).mean() + (known <= last).mean()) / 2 * 100)
