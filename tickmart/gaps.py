"""Adds a row of nulls for each bar that is missing between a coin's first and last bar of a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_FIXED = {
    "1h": (timedelta(hours=1), _EPOCH),
    "4h": (timedelta(hours=4), _EPOCH),
    "1d": (timedelta(days=1), _EPOCH),
    "1w": (timedelta(weeks=1), _MONDAY),
}


def with_null_rows(table: pa.Table, interval: str) -> pa.Table:
    """Return the bars, sorted by coin and time as given, with null rows for the missing ones."""
    ids, times = table["crypto_id"].combine_chunks(), table["opened_at"].combine_chunks()
    if len(table) < 2:
        return table
    numbers = _numbers(times, interval)
    steps = pc.subtract(numbers[1:], numbers[:-1])
    after_gap = pc.and_(pc.equal(ids[1:], ids[:-1]), pc.greater(steps, 1))
    missing: list[tuple[str, datetime]] = []
    for position in pc.indices_nonzero(after_gap).to_pylist():
        crypto_id, first, last = ids[position].as_py(), numbers[position].as_py(), numbers[position + 1].as_py()
        missing += ((crypto_id, _moment(number, interval)) for number in range(first + 1, last))
    if not missing:
        return table
    rows = {name: pa.nulls(len(missing), table.schema.field(name).type) for name in table.column_names}
    rows["crypto_id"] = pa.array([crypto_id for crypto_id, _ in missing], ids.type)
    rows["opened_at"] = pa.array([moment for _, moment in missing], times.type)
    filled = pa.concat_tables([table, pa.table(rows, schema=table.schema)])
    return filled.sort_by([("crypto_id", "ascending"), ("opened_at", "ascending")])


def _numbers(times: pa.Array, interval: str) -> pa.Array:
    """Return consecutive integers for consecutive bars."""
    if interval == "1M":
        return pc.add(pc.multiply(pc.year(times), 12), pc.subtract(pc.month(times), 1))
    step, origin = _FIXED[interval]
    microseconds = timedelta(microseconds=1)
    elapsed = pc.subtract(times.cast(pa.int64()), (origin - _EPOCH) // microseconds)
    return pc.divide(elapsed, step // microseconds)


def _moment(number: int, interval: str) -> datetime:
    """Return when the bar of a number opens."""
    if interval == "1M":
        return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)
    step, origin = _FIXED[interval]
    return origin + number * step
