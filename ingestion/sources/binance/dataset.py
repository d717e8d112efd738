"""The dataset ``binance_klines``: its declaration, object keys, and reading the rows of raw that a batch may change."""

from __future__ import annotations

import re
from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.database.connections import Connection
from ingestion.datasets import HOUR_S, Dataset, StoredRejection, object_days
from ingestion.ops import coverage
from ingestion.sources.binance.contract import BRONZE_ONLY, COLUMNS, INTERVAL_MS, rules
from ingestion.sources.binance.parse import read_bars

NAME, PREFIX = "binance_klines", "binance/klines"


def klines_key(interval: str, day: date) -> str:
    """Return the key of the object with the bars of all symbols on one UTC day."""
    return f"{PREFIX}/interval={interval}/date={day.isoformat()}/bars.parquet"


def klines_day(key: str) -> tuple[str, date] | None:
    """Return the interval and the UTC day of an object under a key of ``klines_key``; None for another key."""
    match = re.fullmatch(rf"{PREFIX}/interval=(\w+)/date=(\d{{4}}-\d\d-\d\d)/bars\.parquet", key)
    return (match[1], date.fromisoformat(match[2])) if match else None


def _parse_rejected(_: Connection, rejection: StoredRejection) -> pa.Table:
    record = rejection.record
    return read_bars([record["bar"]], record["symbol"], record["interval"], "replayed", rejection.rejected_at).rows


def invalidate(connection: Connection, key: str) -> None:
    """Make the next run of an object's interval request its days again."""
    found, days = re.match(rf"{PREFIX}/interval=(\w+)/", key), object_days(key)
    if found and days:
        coverage.invalidate_coverage(connection, KLINES, found[1], days)


# Ranges further apart than this are read separately.
_APART_US = 3 * 86_400_000_000
_EXISTING_BARS = """
    select k.*
    from unnest(%s::text[], %s::text[], %s::timestamptz[], %s::timestamptz[]) as s (symbol, interval, low, high)
    cross join lateral (
        select *
        from raw.binance_klines as b
        where b.symbol = s.symbol and b.interval = s.interval and b.open_time between s.low and s.high
    ) as k
"""
_Ranges = tuple[list[str], list[str], list[datetime], list[datetime]]


def _ranges(batch: pa.Table) -> _Ranges:
    """Return the ranges of each series in a batch of bars sorted by key: symbol, interval, first and last open time.

    Reading raw by these ranges costs as much as the batch has rows; a join with all of raw costs as much as the history
    has (0.56 seconds for 100,000 bars beside 1.3 million, 0.13 by ranges).
    """
    opened = np.asarray(batch["open_time"].combine_chunks().cast(pa.int64()))
    begins = np.ones(len(batch), dtype=bool)
    begins[1:] = np.diff(opened) > _APART_US
    for name in ("symbol", "interval"):
        column = batch[name].combine_chunks()
        begins[1:] |= np.asarray(pc.not_equal(column[1:], column[:-1]))
    first = np.flatnonzero(begins)
    last = np.append(first[1:], len(batch)) - 1
    starts = [batch[name].take(first).to_pylist() for name in ("symbol", "interval", "open_time")]
    return starts[0], starts[1], starts[2], batch["open_time"].take(last).to_pylist()


# A bar is in one object, and each load records in its transaction how many rows the object has in raw: a millisecond.
# Counting 1.3 million bars takes 0.15 to 0.3 seconds of two cores, 50 million 10 to 20.
_COUNT = f"""
    select coalesce(sum(rows), 0)::bigint from ops.load_ledger where dataset = '{NAME}' and merged_into is null
"""  # noqa: S608 - a declared name

KLINES = Dataset(
    name=NAME,
    source="Binance",
    prefix=PREFIX,
    key=("symbol", "interval", "open_time"),
    merged_by=("interval", "open_time"),
    columns=COLUMNS,
    bronze_only=BRONZE_ONLY,
    parts=("interval", tuple(INTERVAL_MS)),
    sla_seconds=lambda _: 2 * HOUR_S,
    # One index probe per series instead of a scan.
    newest_sql="""
        select max(newest.open_time) + interval '1 hour'
        from (select distinct binance_symbol as symbol from raw.universe) as tracked
        cross join lateral (
            select open_time from raw.binance_klines as k
            where k.symbol = tracked.symbol and k.interval = '1h'
            order by open_time desc limit 1
        ) as newest
    """,
    object_key=lambda row: klines_key(row["interval"], row["open_time"].date()),
    damaged_advice="the next run of its interval fetches its day again",
    on_damaged=invalidate,
    rules=rules,
    parse_rejected=_parse_rejected,
    existing_rows=lambda batch: (_EXISTING_BARS, _ranges(batch)),
    other_assets=("ops/gaps",),
    count_sql=_COUNT,
)
