"""Bronze objects as pandas frames for the bronze suites.

Belongs here: the rows, and the columns that a rule needs beside them. Does not: rules (``suites``), queries on Postgres
(``queries``). Cost follows the new data: only pending objects are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import align_decimals
from ingestion.bronze.lake import DamagedObject, Lake, ObjectInfo
from ingestion.bronze.merged import part_keys
from ingestion.bronze.parquet import read_pieces
from ingestion.bronze.read_ahead import read_batches
from ingestion.datasets import PROVENANCE, Dataset, is_merged, object_day
from ingestion.raw.loader import LARGE_BYTES
from ingestion.sources.binance.contract import INTERVAL_MS
from ingestion.validation import Rule, validate

if TYPE_CHECKING:
    import pandas as pd

# Bounds memory whatever the range; Great Expectations costs as much per frame as per row.
ROWS_PER_FRAME = 50_000


def read_frames(
    lake: Lake, objects: Sequence[ObjectInfo], dataset: Dataset, tracked: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield the rows of the objects as frames of about ``ROWS_PER_FRAME`` rows, each with the columns of its suite."""

    def read(info: ObjectInfo) -> pa.Table | None:
        try:
            found = lake.read(info.key)
        except DamagedObject:
            return None  # the load reports it; there are no rows to validate
        return _with_key(dataset, found[0], info.key) if found else None

    small = [info for info in objects if info.size <= LARGE_BYTES]
    large = [info for info in objects if info.size > LARGE_BYTES]
    tables = chain(read_batches(read, small, len, ROWS_PER_FRAME), _pieces(lake, large, dataset))
    # `map` keeps no batch while the next one is read.
    yield from map(partial(to_frame, dataset=dataset, tracked=tracked), tables)


def _pieces(lake: Lake, objects: Sequence[ObjectInfo], dataset: Dataset) -> Iterator[list[pa.Table]]:
    """Yield the rows of large objects in tables of about ``ROWS_PER_FRAME`` rows."""
    for info in objects:
        try:
            for table in read_pieces(lake.get(info.key) or b"", info.key, ROWS_PER_FRAME):
                yield [_with_key(dataset, table, info.key)]
        except DamagedObject:
            continue  # as above


def _with_key(dataset: Dataset, table: pa.Table, key: str) -> pa.Table:
    """Add the key of each row's object; a row of a merged object came in another one."""
    keys = part_keys(dataset, table) if is_merged(key) else pa.repeat(key, len(table))
    return table.append_column("object_key", keys)


def to_frame(tables: Sequence[pa.Table], dataset: Dataset, tracked: Sequence[str]) -> pd.DataFrame:
    """Return the tables as one frame. ``tracked`` are the symbols or coins that are expected."""
    table = pa.concat_tables(align_decimals(tables), promote_options="default")
    required = [_present(column.name) for column in dataset.columns if column.required]
    violations = pa.array(validate(table, [*required, *dataset.rules(datetime.now(UTC))]), pa.string())
    # Great Expectations cannot compare decimals; the contract above is checked on the exact ones.
    for at, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(at, field.name, pc.cast(table[field.name], pa.float64()))
    table = table.append_column("contract_violation", violations)
    if "open_time" in table.schema.names:
        for name, column in _bar_columns(table, tracked).items():
            table = table.append_column(name, column)
    dropped = ("extra", "image", *(name for name, _ in PROVENANCE))
    frame: pd.DataFrame = table.select([n for n in table.schema.names if n not in dropped]).to_pandas()
    if "snapshot_at" in frame:
        frame["missing_coins"] = _missing_coins(frame, tracked)
    return frame


def _present(name: str) -> Rule:
    return f"{name} is missing", lambda table: pc.is_null(table[name])


def _bar_columns(table: pa.Table, tracked: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Return the flags of the bar rules; null where a rule does not apply."""
    keys = table["object_key"].combine_chunks().dictionary_encode()
    object_days = pa.array(map(object_day, keys.dictionary.to_pylist()), pa.date32()).take(keys.indices)
    symbol, known = table["symbol"], pa.array(list(tracked), pa.string())
    volume, trades = table["volume"], table["trade_count"]
    at_ms = pc.divide(table["open_time"].cast(pa.int64()), 1000)
    lengths = pa.array(list(INTERVAL_MS.values()))
    step_ms = lengths.take(pc.index_in(table["interval"], value_set=pa.array(list(INTERVAL_MS))).combine_chunks())
    return {
        "on_object_day": pc.equal(pc.cast(table["open_time"], pa.date32()), object_days),
        "on_interval_grid": pc.equal(pc.multiply(pc.divide(at_ms, step_ms), step_ms), at_ms),
        "is_tracked": pc.if_else(pc.is_valid(symbol), pc.is_in(symbol, value_set=known), None),
        "volume_has_trades": pc.or_(pc.less_equal(volume, 0.0), pc.not_equal(trades, 0)),
        "trades_have_volume": pc.or_(pc.less_equal(trades, 0), pc.not_equal(volume, 0.0)),
    }


def _missing_coins(frame: pd.DataFrame, tracked: Sequence[str]) -> pd.Series:
    """Return the tracked coins that a snapshot lacks, on the first row of the snapshot."""
    present = frame.groupby("snapshot_at")["crypto_id"].agg(set)
    missing = present.map(lambda coins: ", ".join(sorted(set(tracked) - coins)) or None)
    first = ~frame["snapshot_at"].duplicated()
    return frame["snapshot_at"].map(missing).where(first, None)
