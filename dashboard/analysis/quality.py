"""Aggregates for the Data quality page: expected row counts, API health, sample rows of failed checks."""

import json
from datetime import datetime, timedelta

import numpy as np
import pandas as pd


def expected_band(counts: pd.DataFrame) -> pd.DataFrame:
    """Add the usual band of bars per weekday (low, high): median ± 3 median absolute deviations."""
    weekday = counts["date"].dt.dayofweek
    median = counts["bars"].groupby(weekday).transform("median")
    deviation = (counts["bars"] - median).abs().groupby(weekday).transform("median")
    return counts.assign(low=(median - 3 * deviation).clip(lower=0), high=median + 3 * deviation)


def api_health(requests: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Return requests, errors and latency per API over the last 24 h, and hourly median latencies of 7 days.

    `errors_pct` is the share of attempts with a 4xx, 429, 5xx or timeout. `latency_p50_ms` is the median of the hourly
    medians, `latency_p95_ms` the highest hourly p95. Values are missing where no request was made.
    """
    error_columns = ["errors_4xx", "errors_429", "errors_5xx", "unanswered"]
    rows = []
    for source, hours in requests.groupby("source"):
        day = hours[hours["hour_started_at"] > now - timedelta(hours=24)]
        total = int(day["requests"].sum())
        rows.append(
            {
                "source": source,
                "requests": total,
                **{name: int(day[name].sum()) for name in [*error_columns, "retries", "bytes"]},
                "errors_pct": float(day[error_columns].to_numpy().sum() / total * 100) if total else np.nan,
                "latency_p50_ms": day["latency_p50_ms"].median(),
                "latency_p95_ms": day["latency_p95_ms"].max(),
                "latency_by_hour": hours["latency_p50_ms"].dropna().round(1).tolist(),
                "last_request_at": hours["hour_started_at"].max(),
            }
        )
    return pd.DataFrame(rows)


def sample_rows(sample: str) -> pd.DataFrame | None:
    """Return the sample of a check (a JSON list of rows) as a table with numbers as written; None for other text.

    A list of scalars becomes one column. A truncated sample is no valid JSON and gives None.
    """
    try:
        rows = json.loads(sample, parse_float=str, parse_int=str)
    except json.JSONDecodeError:
        return None
    if not isinstance(rows, list) or not rows:
        return None
    if not all(isinstance(row, dict) for row in rows):
        rows = [{"value": row} for row in rows]
    return pd.DataFrame(rows).map(lambda cell: json.dumps(cell) if isinstance(cell, bool | list | dict) else cell)
