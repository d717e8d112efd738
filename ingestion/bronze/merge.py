"""Merges tables of one dataset: the union of their keys, and the values that changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import align_decimals, last_wins
from ingestion.datasets import Dataset


def without_repeats(dataset: Dataset, table: pa.Table, by: Sequence[str]) -> pa.Table:
    """Drop each row with the same value as the previous row of its key in the order of ``by``; sort by key."""
    if len(table) < 2:
        return table
    table = table.sort_by([(name, "ascending") for name in (*dataset.key, *by)]).combine_chunks()
    repeats = pa.array(np.ones(len(table) - 1, dtype=bool))
    for name in (*dataset.key, *dataset.values):
        column = table[name].chunk(0)
        after, before = column[1:], column[:-1]
        same = pc.or_kleene(pc.equal(after, before), pc.and_(pc.is_null(after), pc.is_null(before)))
        repeats = pc.and_(repeats, pc.fill_null(same, False))
    return table.filter(pc.invert(pa.concat_arrays([pa.array([False]), repeats])))


def union(dataset: Dataset, old: pa.Table, new: pa.Table) -> pa.Table:
    """Return all keys of both tables. For a key of both, the old row wins if the values are equal, else the new one."""
    old, new = align_decimals([old, new])
    record = [*dataset.key, *dataset.values]
    if old.select(record).equals(new.select(record)):
        return old
    both = pa.concat_tables([old, new], promote_options="default")
    numbered = both.select(record).append_column("row", pa.array(np.arange(len(both))))
    distinct = numbered.group_by(record).aggregate([("row", "min")])["row_min"]
    return last_wins(both.take(distinct.combine_chunks().sort()), dataset.key)
