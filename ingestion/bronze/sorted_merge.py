"""Merges tables of any number into one Parquet file, sorted by key, in memory that does not grow with their rows.

Belongs here: the order of rows, row groups and the file. Does not: which objects are merged (``compaction``), the
object store (``lake``). It is an external merge sort: sorted runs of bounded size on disk, which are merged in step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.arrow import align_decimals, last_wins
from ingestion.bronze.parquet import open_parquet, shape, write_options
from ingestion.datasets import Dataset

# Rows of a run in memory (some 40 MB), and of the part of each run that is merged at once.
RUN_ROWS = 100_000
STEP_ROWS = 4_096
# A row group ends where the first column of the key changes, after so many rows: a month of one symbol's hours (744
# rows) is read with ten others, a month of its minutes (44,640) alone. Smaller groups cost more than they save.
GROUP_LEAST, GROUP_MOST = 8_192, 65_536


@dataclass
class Runs:
    """Sorted runs of a dataset's rows, in files below ``folder`` but for the last one."""

    dataset: Dataset
    folder: Path
    _files: list[Path] = field(default_factory=list)
    _last: pa.Table | None = None

    @classmethod
    def of(cls, dataset: Dataset, folder: Path, tables: Iterable[pa.Table]) -> Runs:
        """Sort tables into runs. Of rows with one key and fetch, those of later tables count."""
        runs = cls(dataset, folder)
        pending: list[pa.Table] = []
        for table in tables:
            if pending and sum(map(len, pending)) + len(table) > RUN_ROWS:
                runs._spill(_newest(dataset, pending))
                pending = []
            pending.append(table)
        runs._last = _newest(dataset, pending) if pending else None
        return runs

    def _spill(self, table: pa.Table) -> None:
        path = self.folder / f"run-{len(self._files)}.arrow"
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.ipc.new_file(path, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=STEP_ROWS)
        self._files.append(path)

    def merged(self) -> Iterator[pa.Table]:
        """Yield all rows in the order of their key, each once; the same tables at each call."""
        if not self._files:
            if self._last is not None:
                yield self._last
            return
        with ExitStack() as stack:
            files = [pa.ipc.open_file(stack.enter_context(pa.OSFile(str(path)))) for path in self._files]
            assert self._last is not None
            schema = _common([*(file.schema for file in files), self._last.schema])
            steps = [_steps(file, schema) for file in files]
            steps.append(conform(self._last.slice(at, STEP_ROWS), schema)
                         for at in range(0, len(self._last), STEP_ROWS))  # fmt: skip
            yield from _in_step(self.dataset, steps)


def _newest(dataset: Dataset, tables: list[pa.Table]) -> pa.Table:
    """Return the rows of tables sorted by key. Of rows with one key the newest fetch stays; of a stream, the first."""
    table = pa.concat_tables(align_decimals(tables), promote_options="default")
    if dataset.is_streamed:
        return last_wins(table.sort_by([("fetched_at", "descending")]), dataset.grain)
    return last_wins(table, dataset.grain, by=() if "fetched_at" in dataset.grain else ("fetched_at",))


def _common(schemas: list[pa.Schema]) -> pa.Schema:
    empty = pa.concat_tables(align_decimals([s.empty_table() for s in schemas]), promote_options="default")
    return empty.schema


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema that has them all, null where it lacks one."""
    columns = [
        table[f.name].cast(f.type) if f.name in table.schema.names else pa.nulls(len(table), f.type) for f in schema
    ]
    return pa.table(columns, schema=schema)


def _steps(file: Any, schema: pa.Schema) -> Iterator[pa.Table]:
    for at in range(file.num_record_batches):
        yield conform(pa.Table.from_batches([file.get_batch(at)]), schema)


def _in_step(dataset: Dataset, steps: list[Iterator[pa.Table]]) -> Iterator[pa.Table]:
    """Yield the rows of sorted runs in order: at each step, those up to the least of the runs' last rows."""
    held: list[pa.Table | None] = [None] * len(steps)
    while True:
        for at, table in enumerate(held):
            if table is None:
                held[at] = next(steps[at], None)
        present = [(at, table) for at, table in enumerate(held) if table is not None]
        if not present:
            return
        least = min(_key(dataset, table, len(table) - 1) for _, table in present)
        taken = []
        for at, table in present:
            count = bisect_right(range(len(table)), least, key=partial(_key, dataset, table))
            taken.append(table.slice(0, count))
            held[at] = table.slice(count) if count < len(table) else None
        yield _newest(dataset, [table for table in taken if len(table)])


def _key(dataset: Dataset, table: pa.Table, row: int) -> tuple[Any, ...]:
    return tuple(table[name][row].as_py() for name in dataset.grain)


def row_groups(dataset: Dataset, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Cut tables into row groups."""
    leading = dataset.key[0]
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table)
        if sum(map(len, pending)) < GROUP_MOST:
            continue
        rows = pa.concat_tables(align_decimals(pending)).combine_chunks()
        done = 0
        while len(rows) - done >= GROUP_MOST:
            end = done + _group_end(rows[leading].combine_chunks().slice(done, GROUP_MOST), GROUP_MOST)
            yield rows.slice(done, end - done)
            done = end
        pending = [rows.slice(done)]
    rows = pa.concat_tables(align_decimals(pending)).combine_chunks() if pending else None
    done = 0
    while rows is not None and done < len(rows):
        end = done + _group_end(rows[leading].combine_chunks().slice(done), len(rows) - done)
        yield rows.slice(done, end - done)
        done = end


def _group_end(leading: pa.Array, otherwise: int) -> int:
    """Return the rows of the next group: up to the first change of the leading column that leaves it large enough."""
    changes = np.flatnonzero(np.asarray(pc.not_equal(leading[1:], leading[:-1]))) + 1
    large = changes[changes >= GROUP_LEAST]
    return int(large[0]) if len(large) else otherwise


def write_sorted(runs: Runs, path: Path) -> int:
    """Write the rows of runs to a Parquet file, read it back and compare; return their number."""
    rows = 0
    writer: pq.ParquetWriter | None = None
    try:
        for group in row_groups(runs.dataset, runs.merged()):
            if writer is None:
                writer = pq.ParquetWriter(path, group.schema, **write_options(group.schema))
            writer.write_table(group, row_group_size=GROUP_MOST)
            rows += len(group)
        if writer is not None:
            writer.add_key_value_metadata(shape(rows, writer.schema))
    finally:
        if writer is not None:
            writer.close()
    with open_parquet(path, path.name) as file:
        groups = row_groups(runs.dataset, runs.merged())
        for at, group in enumerate(groups):
            if not file.read_row_group(at, use_threads=False).replace_schema_metadata(None).equals(group):
                raise ValueError(f"row group {at} of {path.name} does not read back equal")
    return rows
