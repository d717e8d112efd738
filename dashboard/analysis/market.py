"""Histories of market totals for the Overview's cards."""

import pandas as pd

MIN_POINTS = 24  # a sparkline through fewer points misleads


def gapless_tail(times: pd.Series, values: pd.Series, step: str) -> list[float]:
    """Return the newest values whose times follow each other by exactly `step`, oldest first.

    A card's sparkline spaces its points evenly; after a gap its time axis would be wrong. Empty below MIN_POINTS.
    """
    known = values.notna()
    times, values = times[known], values[known].astype(float)
    starts = (times.diff() != pd.Timedelta(step)).cumsum()
    tail = values[starts == starts.iloc[-1]] if len(values) else values
    return tail.tolist() if len(tail) >= MIN_POINTS else []
