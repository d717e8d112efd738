"""Merged objects, by their keys: which objects they contain, and which objects of a listing count.

Belongs here: what follows from keys and rows alone. Does not: merging (``compaction``), the order of rows
(``sorted_merge``).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa

from ingestion.bronze.objects import ObjectInfo
from ingestion.datasets import DAY_FILE, MONTH_FILE, ONE_DAY, Dataset, is_merged, midnight, next_month, object_day

# Late corrections of a day's bars come until the end of the next day.
CLOSED_AFTER = timedelta(days=2)


def current(infos: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """Return the objects of a listing without those whose rows are in a merged object of the same listing.

    A compaction writes the merged object first and removes the others later: every reader of the lake takes this list.
    """
    found = list(infos)
    merged = {info.key for info in found if is_merged(info.key)}
    return [info for info in found if merged.isdisjoint(merging_keys(info.key))] if merged else found


def merging_keys(key: str) -> tuple[str, ...]:
    """Return the keys of the merged objects that an object's rows would be in: of its month, then of its day."""
    day = object_day(key)
    if day is None or key.endswith(f"/{MONTH_FILE}"):
        return ()
    prefix = key.partition("/date=")[0]
    month = f"{prefix}/date={day:%Y-%m}-01/{MONTH_FILE}"
    return (month,) if key.endswith(f"/{DAY_FILE}") else (month, f"{prefix}/date={day.isoformat()}/{DAY_FILE}")


def closed_groups(dataset: Dataset, infos: Iterable[ObjectInfo], now: datetime) -> dict[str, list[ObjectInfo]]:
    """Return the objects of each closed month, and of each closed day of other months, by the key that merges them.

    Days come first, so that a month of many objects is merged from its days. Groups of one object are left out.
    """
    days: dict[str, list[ObjectInfo]] = {}
    months: dict[str, list[ObjectInfo]] = {}
    for info in infos:
        day = object_day(info.key)
        if day is None:
            continue
        prefix = info.key.partition("/date=")[0]
        if _is_closed(next_month(day), now):
            months.setdefault(f"{prefix}/date={day:%Y-%m}-01/{MONTH_FILE}", []).append(info)
        elif dataset.many_per_day and _is_closed(day + ONE_DAY, now):
            days.setdefault(f"{prefix}/date={day.isoformat()}/{DAY_FILE}", []).append(info)
    return {key: own for key, own in (days | months).items() if len(own) > 1}


def _is_closed(end: date, now: datetime) -> bool:
    return now.astimezone(UTC) - midnight(end) >= CLOSED_AFTER


def part_keys(dataset: Dataset, table: pa.Table) -> pa.Array:
    """Return for each row of a merged object the key of the object that it came in."""
    keys, numbers = _parts(dataset, table)
    return pa.array(keys, pa.string()).take(pa.array(numbers))


def part_rows(dataset: Dataset, merged: str, table: pa.Table) -> dict[str, int]:
    """Return how many rows of a merged object came in each object of its days, by its key.

    A history that repeats rows of earlier fetches has rows of other days; they are no part.
    """
    keys, numbers = _parts(dataset, table)
    counts: dict[str, int] = {}
    for key, rows in zip(keys, np.bincount(numbers, minlength=len(keys)), strict=True):
        counts[key] = counts.get(key, 0) + int(rows)
    return {key: rows for key, rows in counts.items() if merged in merging_keys(key)}


def _parts(dataset: Dataset, table: pa.Table) -> tuple[list[str], np.ndarray]:
    """Return the key of each combination of the deciding columns, and the number of the combination of each row."""
    codes = np.zeros(len(table), dtype="int64")
    for name in dataset.merged_by:
        encoded = table[name].combine_chunks().dictionary_encode()
        codes = codes * max(len(encoded.dictionary), 1) + np.asarray(encoded.indices, dtype="int64")
    _, firsts, numbers = np.unique(codes, return_index=True, return_inverse=True)
    rows = table.select(list(dataset.merged_by)).take(pa.array(firsts)).to_pylist()
    return [dataset.object_key(row) for row in rows], numbers
