"""Writes one merged object: from the objects that it is to contain, or from its own rows and new ones.

Belongs here: reading, merging, verifying and the write of one object. Does not: which objects are merged and what is
recorded (``compaction``), the order of rows (``sorted_merge``).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.arrow import align_decimals
from ingestion.bronze.merged import merging_keys
from ingestion.bronze.objects import DamagedObject, LakeError, ObjectInfo, Written
from ingestion.bronze.parquet import open_parquet, read_pieces
from ingestion.bronze.read_ahead import read_ahead
from ingestion.bronze.sorted_merge import RUN_ROWS, Runs, write_sorted
from ingestion.datasets import Dataset

if TYPE_CHECKING:
    from ingestion.bronze.lake import Lake

WRITERS = 4


@dataclass(frozen=True)
class Merge:
    """The merge of rows of a dataset into the object with one key."""

    lake: Lake
    dataset: Dataset
    key: str

    def of(
        self, objects: Sequence[ObjectInfo], present: ObjectInfo | None = None
    ) -> tuple[ObjectInfo, str, int] | None:
        """Write the rows of objects, and of the present version; return the object, its SHA-256 and its rows.

        None if the present version has all rows already. Of two rows with one key the newest fetch stays.
        """
        with tempfile.TemporaryDirectory(prefix="tickmart-merge-") as folder:
            # The present version comes last: of rows with one fetch time its row stays.
            path, rows = self._write(Path(folder), self._tables([*objects, *([present] if present else [])]))
            if present is not None and self._has_equal_rows(present, path):
                return None
            return (*self.lake.put_file(self.key, path), rows)

    def add(self, new: pa.Table) -> Written:
        """Merge rows into the object, and write it only if it changes.

        As in ``Lake.merge`` a damaged object is replaced by the rows; only if its source can be asked for the others.
        """
        present = next(info for info in self.lake.list(self.key) if info.key == self.key)
        try:
            changed = self._without_equal(present, new)
            if not len(changed):
                return Written(self.key, "unchanged", len(new), 0)
            return self._replace("replaced", (t for tables in (self._tables([present]), [changed]) for t in tables))
        except DamagedObject:
            if self.dataset.on_damaged is None:
                raise
            return self._replace("repaired", [new])

    def _replace(self, outcome: str, tables: Iterable[pa.Table]) -> Written:
        with tempfile.TemporaryDirectory(prefix="tickmart-merge-") as folder:
            path, rows = self._write(Path(folder), tables)
            info, _ = self.lake.put_file(self.key, path)
        return Written(self.key, outcome, rows, info.size)

    def _tables(self, objects: Sequence[ObjectInfo]) -> Iterator[pa.Table]:
        """Yield the rows of objects in tables of bounded size; the bytes of the next objects are read in advance."""
        for key, body in read_ahead(lambda info: (info.key, self.lake.get(info.key)), objects):
            if body is None:
                raise DamagedObject(f"{key}: it was removed while it was merged")
            for table in read_pieces(body, key, RUN_ROWS):
                yield self._columns(table, key)

    def _columns(self, table: pa.Table, key: str) -> pa.Table:
        """Return a table with all columns of the dataset: an older object can lack some of them."""
        names, schema = set(table.schema.names), self.dataset.schema
        lacking = [name for name in (*self.dataset.grain, "fetched_at") if name not in names]
        unknown = sorted(names - set(schema.names))
        if lacking or unknown:
            what = f"lacks the column {lacking[0]}" if lacking else f"has a column {unknown[0]}, which is not declared"
            raise DamagedObject(f"{key}: it {what}")
        columns = [table[f.name] if f.name in names else pa.nulls(len(table), f.type) for f in schema]
        fields = [table.schema.field(f.name) if f.name in names else f.with_nullable(True) for f in schema]
        return pa.table(columns, schema=pa.schema(fields))

    def _write(self, folder: Path, tables: Iterable[pa.Table]) -> tuple[Path, int]:
        path = folder / self.key.rpartition("/")[2]
        try:
            return path, write_sorted(Runs.of(self.dataset, folder, tables), path)
        except pa.ArrowException as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedObject(f"{self.key}: its objects have columns of different kinds ({reason})") from None
        except OSError as error:
            reason = " ".join(str(error).split())[:200]
            raise LakeError(f"{folder}: cannot be written ({reason}): free space, or set TMPDIR") from error

    def _has_equal_rows(self, present: ObjectInfo, path: Path) -> bool:
        body = self.lake.get(present.key)
        assert body is not None
        with open_parquet(body, present.key) as old, open_parquet(path, path.name) as new:
            if (old.metadata.num_rows, old.schema_arrow) != (new.metadata.num_rows, new.schema_arrow):
                return False
            return all(a.equals(b) for a, b in zip(_batches(old), _batches(new), strict=True))

    def _without_equal(self, present: ObjectInfo, new: pa.Table) -> pa.Table:
        """Return the rows that the present version does not have with equal values."""
        record, last = [*self.dataset.key, *self.dataset.values], self.dataset.key[-1]
        known = np.zeros(len(new), dtype=bool)
        for piece in self._tables([present]):
            near = piece.filter(pc.is_in(piece[last], new[last].unique()))
            old, mine = align_decimals([near.select(record), new.select(record)])
            # Rows of the present version have no number.
            numbers = pa.concat_arrays([pa.nulls(len(old), pa.int64()), pa.array(np.arange(len(mine)))])
            both = pa.concat_tables([old, mine], promote_options="default").append_column("number", numbers)
            groups = both.group_by(record).aggregate([("number", "max"), ([], "count_all")])
            found = groups.filter(pc.greater(groups["count_all"], 1))["number_max"].drop_null()
            known[np.asarray(found, dtype="int64")] = True
        return new.filter(pa.array(~known)).combine_chunks()


def merge_rows(lake: Lake, dataset: Dataset, parts: Sequence[tuple[str, pa.Table]]) -> list[Written]:
    """Merge rows into their objects, or into the merged objects that have these; return the outcome of each write.

    The caller has the lock of the dataset's bronze.
    """
    merged = _merged_objects(lake, dataset, [key for key, _ in parts])
    with ThreadPoolExecutor(WRITERS, thread_name_prefix="lake") as pool:
        written = list(pool.map(lambda part: lake.merge(dataset, *part), [p for p in parts if p[0] not in merged]))
    tables: dict[str, list[pa.Table]] = {}
    for key, table in parts:
        if key in merged:
            tables.setdefault(merged[key], []).append(table)
    for key, own in tables.items():
        new = pa.concat_tables(align_decimals(own), promote_options="default").combine_chunks()
        written.append(Merge(lake, dataset, key).add(new))
    return written


def _merged_objects(lake: Lake, dataset: Dataset, keys: Iterable[str]) -> dict[str, str]:
    """Return the merged object that has the rows of a key, for each key with one."""
    if not dataset.merged_by:
        return {}
    wanted = {key: merging_keys(key)[: 2 if dataset.many_per_day else 1] for key in keys}
    present = {info.key for key in sorted({k for found in wanted.values() for k in found}) for info in lake.list(key)}
    return {
        key: next(merged for merged in found if merged in present)
        for key, found in wanted.items()
        if not present.isdisjoint(found)
    }


def _batches(file: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    return file.iter_batches(batch_size=RUN_ROWS, use_threads=False)  # type: ignore[no-any-return]
