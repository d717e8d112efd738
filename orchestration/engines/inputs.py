"""What an engine reads: the objects of bronze as files of one folder per dataset and form, and what raw adds.

Belongs here: copies of objects, the loader's rule for repeated keys, and the types of raw. Does not: tables of an
engine (``sources``). A damaged object is named, as by the loader.
"""

from __future__ import annotations

import io
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ingestion.arrow import UTC_US, align_decimals, last_wins
from ingestion.bronze.lake import Lake, LakeError
from ingestion.bronze.merge import without_repeats
from ingestion.bronze.merged import current
from ingestion.bronze.objects import DamagedObject, ObjectInfo
from ingestion.datasets import Dataset, object_day
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.bitcoin.chain import Block, left_out
from ingestion.sources.bitcoin.dataset import BITCOIN_TRANSACTIONS, HASH, blocks_key, transactions_key
from ingestion.sources.bitcoin.objects import rows_of_blocks
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from ingestion.sources.onchain.dataset import BLOCKCHAIN_DAILY, COINMETRICS_DAILY
from ingestion.universe import Asset
from orchestration.engines.ranges import PARTITION, Range, files_of, table_of

# Digits of the integer part that a number keeps on an engine, where a sum needs ten more and 38 are all there are. On
# Spark a difference of sums (``translation``) needs one more; Sail 0.7 takes a sum of 37 digits for one of 38.
INTEGER_DIGITS = {"sail": 20, "spark": 19}
DIGITS = 38
# Places of a decimal column whose numbers have more digits than fit.
WIDE_PLACES = 18
TYPES = {
    "text": "string", "integer": "int", "bigint": "bigint", "date": "date", "timestamptz": "timestamp",
    "boolean": "boolean", "bytea": "binary", "double precision": "double", "jsonb": "string",
}  # fmt: skip
ARROW_TYPES = {
    "string": "string", "large_string": "string", "binary": "binary", "bool": "boolean", "int32": "int",
    "int64": "bigint", "float": "float", "double": "double", "date32[day]": "date",
}  # fmt: skip
# Datasets whose records another object can repeat with another value; the loader's rule chooses one.
REPEATED: tuple[Dataset, ...] = (MARKETS, FEAR_GREED, COINMETRICS_DAILY, BLOCKCHAIN_DAILY)


@dataclass
class Input:
    """A table for an engine: folders of files of one form each, and the query's columns as (name, SQL).

    ``schemas`` has the columns of each folder's files as (name, type); an engine would read files to find them.
    ``condition`` is SQL about the columns of the files.
    """

    name: str
    columns: list[tuple[str, str]]
    folders: list[str] = field(default_factory=list)
    schemas: list[list[tuple[str, str]]] = field(default_factory=list)
    schema: str = "raw"
    condition: str = "true"

    def add(self, folder: Path, schema: pa.Schema) -> Input:
        """Add a folder whose files have a schema; return the input."""
        self.folders.append(str(folder))
        self.schemas.append(spark_columns(schema))
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the input for the process of the engine."""
        return asdict(self)


def spark_columns(schema: pa.Schema) -> list[tuple[str, str]]:
    """Return the columns of a file in Spark's types; a column of a type that raw does not have is left out."""
    return [(column.name, kind) for column in schema if (kind := _spark_type(column.type))]


def _spark_type(kind: pa.DataType) -> str | None:
    if pa.types.is_dictionary(kind):
        return _spark_type(kind.value_type)
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision}, {kind.scale})"
    if pa.types.is_timestamp(kind):
        return "timestamp" if kind.tz else "timestamp_ntz"
    if pa.types.is_fixed_size_binary(kind):
        return "binary"
    return ARROW_TYPES.get(str(kind))


def prepare(
    lake: Lake, assets: Sequence[Asset], cache: Path, folder: Path, engine: str, days: Range | None = None
) -> list[Input]:
    """Return the inputs of a build, whose files are below ``folder``; DamagedObject names an object that is unreadable.

    ``cache`` keeps copies of the large objects from build to build, by their ETag. With ``days``, only the datasets and
    the objects that these need.
    """
    inputs = [_universe(assets, folder)]
    if days is None or KLINES.name in days.datasets:
        objects = current(lake.list(f"{KLINES.prefix}/"))
        inputs.append(_files(lake, KLINES, _of_range(objects, KLINES, days), cache, folder, INTEGER_DIGITS[engine]))
    if days is None or BITCOIN_TRANSACTIONS.name in days.datasets:
        inputs += _bitcoin(lake, cache, folder, days)
    if days is None:
        inputs += [_distinct(lake, dataset, folder) for dataset in REPEATED]
    else:
        for found in inputs:
            if found.name in days.datasets:
                found.condition = days.condition(found.name)
    return inputs


def _of_range(objects: Sequence[ObjectInfo], dataset: Dataset, days: Range | None) -> list[ObjectInfo]:
    return [info for info in objects if days is None or days.reads(info.key, dataset.name)]


def rows_before(tables: Path | None, days: Range) -> list[Input]:
    """Return for each model of a range what the tables before have of its months outside of its days."""
    found = []
    for name in days.models:
        files = [f for f, month in files_of(table_of(tables, name)) if month in days.months] if tables else []
        if not files:
            continue
        month = "cast(date_trunc('month', cast(`date` as timestamp)) as date)"
        columns = [(column, f"`{column}`") for column in pq.read_schema(files[0]).names]
        before = Input(
            name, [*columns, (PARTITION, month)], schema="before",
            condition=f"`date` < date '{days.first}' or `date` >= date '{days.end}'",
        )  # fmt: skip
        for folder in sorted({path.parent for path in files}):
            before.add(folder, pq.read_schema(next(folder.glob("*.parquet"))))
        found.append(before)
    return found


def _files(
    lake: Lake, dataset: Dataset, objects: Sequence[ObjectInfo], cache: Path, folder: Path,
    integer_digits: int = INTEGER_DIGITS["sail"],
) -> Input:  # fmt: skip
    """Link the objects of a dataset into one folder per Arrow schema, and choose the types that hold all of them."""
    numeric = [c.name for c in dataset.columns if c.postgres == "numeric"]
    scales: dict[str, int] = dict.fromkeys(numeric, 8)
    forms: dict[tuple[str, ...], list[Path]] = defaultdict(list)
    schemas: dict[tuple[str, ...], pa.Schema] = {}
    for info in objects:
        path = _copied(lake, info, cache)
        schema = _schema(path, info.key, dataset)
        for name in numeric:
            scales[name] = max(scales[name], schema.field(name).type.scale)
        form = tuple(str(schema.field(c.name).type) for c in dataset.columns)
        forms[form].append(path)
        schemas[form] = schema
    columns = [(c.name, _cast(c.name, c.postgres, scales.get(c.name, 8), integer_digits)) for c in dataset.columns]
    if not dataset.whole_objects:
        columns += [("batch_id", "batch_id"), ("loaded_at", "fetched_at")]
    found = Input(dataset.name, columns)
    for number, (form, paths) in enumerate(forms.items()):
        target = folder / dataset.name / str(number)
        target.mkdir(parents=True)
        for at, path in enumerate(paths):
            os.link(path, target / f"{at:06}.parquet")
        found.add(target, schemas[form])
    if not forms:
        found.add(_written(dataset.schema.empty_table(), folder / dataset.name / "0"), dataset.schema)
    return found


def _copied(lake: Lake, info: ObjectInfo, cache: Path) -> Path:
    path = cache / f"{re.sub(r'[^A-Za-z0-9]', '', info.etag)}-{info.size}.parquet"
    if not path.exists():
        body = lake.get(info.key)
        if body is None:
            raise LakeError(f"{info.key} was removed during the build; build again")
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(body)
        partial.replace(path)
    return path


def _schema(path: Path, key: str, dataset: Dataset) -> pa.Schema:
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        path.unlink()
        reason = " ".join(str(error).split())[:100]
        raise DamagedObject(f"{key}: not a complete Parquet file ({reason}): {dataset.damaged_advice}") from None
    missing = [c.name for c in dataset.columns if c.name not in schema.names]
    if missing:
        raise DamagedObject(f"{key}: has no column {missing[0]}: {dataset.damaged_advice}")
    return schema


def _cast(name: str, postgres: str, scale: int, integer_digits: int = INTEGER_DIGITS["sail"]) -> str:
    """Return SQL for a column of raw; a number too large for an engine becomes null, which staging reports."""
    if postgres == "numeric":
        return f"try_cast(`{name}` as decimal({min(DIGITS, integer_digits + scale)}, {scale}))"
    return f"cast(`{name}` as {TYPES[postgres]})"


def _distinct(lake: Lake, dataset: Dataset, folder: Path) -> Input:
    """Write the records of a small dataset as the loader would leave them in raw: the newest value of each key."""
    tables: list[pa.Table] = []
    for info in current(lake.list(f"{dataset.prefix}/")):
        try:
            found = lake.read(info.key)
        except DamagedObject as error:
            raise DamagedObject(f"{error}: {dataset.damaged_advice}") from None
        if found is not None:
            tables.append(found[0])
    own = [c.name for c in dataset.columns]
    names = [*own, *dict.fromkeys([*dataset.raw_provenance, "fetched_at"]), "batch_id"]
    tables = [t.select(names).append_column("object_no", pa.array([n] * len(t), pa.int64()))
              for n, t in enumerate(tables)]  # fmt: skip
    empty = dataset.schema.empty_table().select(names).append_column("object_no", pa.array([], pa.int64()))
    table = pa.concat_tables(align_decimals([empty, *tables]), promote_options="default")
    order = ("fetched_at", "object_no")
    table = last_wins(without_repeats(dataset, table, order), dataset.key, by=order)
    columns, arrays = [], {}
    for c in dataset.columns:
        arrays[c.name], scale = _narrowed(table[c.name], dataset, c.name)
        columns.append((c.name, _cast(c.name, c.postgres, scale)))
    for name in (*dataset.raw_provenance, "batch_id"):
        arrays[name] = table[name]
        columns.append((name, name))
    arrays["loaded_at"] = table["fetched_at"]
    columns.append(("loaded_at", "loaded_at"))
    written = pa.table(arrays)
    return Input(dataset.name, columns).add(_written(written, folder / dataset.name), written.schema)


def _narrowed(column: pa.ChunkedArray, dataset: Dataset, name: str) -> tuple[pa.ChunkedArray, int]:
    """Return a decimal column with 38 digits, and its scale; LakeError for a number that is too large.

    A column that is declared wide keeps 18 places where its numbers have more; the comparison reports it.
    """
    if not pa.types.is_decimal(column.type):
        return column, 8
    try:
        return column.cast(pa.decimal128(DIGITS, column.type.scale)), column.type.scale
    except pa.ArrowInvalid:
        places = min(column.type.scale, WIDE_PLACES)
    try:
        if name in dataset.wide:
            return pc.round(column, places).cast(pa.decimal128(DIGITS, places)), places
    except pa.ArrowInvalid:
        pass
    raise LakeError(
        f"{dataset.name}: values of {name} have more than {DIGITS} digits together, which no engine holds; "
        "build on Postgres"
    )


def _bitcoin(lake: Lake, cache: Path, folder: Path, days: Range | None) -> list[Input]:
    """Return blocks and transactions; which blocks count is decided as at a load, from the blocks of all days."""
    objects = lake.list(f"{BITCOIN_TRANSACTIONS.prefix}/")
    read = _of_range(objects, BITCOIN_TRANSACTIONS, days)
    blocks: list[Block] = []
    fetched: dict[Any, Any] = {}
    for info in objects:
        day = object_day(info.key)
        assert day is not None
        found = lake.read(blocks_key(day))
        if found is None:
            raise DamagedObject(f"{info.key}: {blocks_key(day)} is missing: {BITCOIN_TRANSACTIONS.damaged_advice}")
        fetched[day] = _fetched_at(_copied(lake, info, cache)) if info in read else None
        blocks += [
            Block(
                day, b["block_hash"], b["block_number"], b["block_timestamp"], b["median_time"], b["previous_hash"],
                b["transaction_count"], b["size_bytes"], b["weight"], b["is_final"], b["row_count"],
            )
            for b in found[0].to_pylist()
        ]  # fmt: skip
    reasons = left_out(blocks)
    rows = [
        {
            "block_hash": b.block_hash, "block_number": b.number, "block_timestamp": b.time,
            "median_time": b.median_time, "previous_hash": b.previous_hash, "transaction_count": b.transaction_count,
            "row_count": b.rows, "size_bytes": b.size_bytes, "weight": b.weight, "is_final": b.is_final,
            "source_day": b.day, "left_out": reasons.get(at), "loaded_at": fetched[b.day],
        }
        for at, b in enumerate(blocks)
    ]  # fmt: skip
    schema = pa.schema([
        ("block_hash", HASH), ("block_number", pa.int32()), ("block_timestamp", UTC_US), ("median_time", UTC_US),
        ("previous_hash", HASH), ("transaction_count", pa.int32()), ("row_count", pa.int32()),
        ("size_bytes", pa.int32()), ("weight", pa.int32()), ("is_final", pa.bool_()), ("source_day", pa.date32()),
        ("left_out", pa.string()), ("loaded_at", UTC_US),
    ])  # fmt: skip
    path = _written(pa.Table.from_pylist(rows, schema), folder / "bitcoin_blocks")
    table = Input("bitcoin_blocks", [(name, name) for name in schema.names]).add(path, schema)
    transactions = _files(lake, BITCOIN_TRANSACTIONS, read, cache, folder)
    for day in {blocks[at].day for at in reasons} & {object_day(info.key) for info in read}:
        of_day = [b for b in blocks if b.day == day]
        absent = {blocks[at].block_hash for at in reasons if blocks[at].day == day}
        _leave_out(lake, day, of_day, absent, folder / BITCOIN_TRANSACTIONS.name)
    return [transactions, table]


def _leave_out(lake: Lake, day: date, blocks: Sequence[Block], absent: set[bytes], folder: Path) -> None:
    """Replace the file of a day by one without the transactions of the blocks that do not count."""
    info = next(o for o in lake.list(transactions_key(day)))
    body = lake.get(info.key) or b""
    table = pa.concat_tables(list(rows_of_blocks(body, day, blocks, absent)))
    [path] = [p for p in folder.rglob("*.parquet") if p.read_bytes() == body]
    path.unlink()
    pq.write_table(table, path, compression="zstd", store_schema=False)


def _fetched_at(path: Path) -> Any:
    """Return when a day was fetched; None for a day without a transaction."""
    file = pq.ParquetFile(path)
    if not file.metadata.num_rows:
        return None
    return file.read_row_group(0, ["fetched_at"])["fetched_at"][0].as_py()


def _universe(assets: Sequence[Asset], folder: Path) -> Input:
    names = ["crypto_id", "binance_symbol", "name", "category", "valid_from", "valid_to"]
    kinds = [pa.string()] * 4 + [pa.date32()] * 2
    values = [[getattr(asset, name) for asset in assets] for name in names]
    arrays = [pa.array(of_column, kind) for of_column, kind in zip(values, kinds, strict=True)]
    now = pa.scalar(0, UTC_US)
    table = pa.table([*arrays, pa.repeat("universe", len(assets)), pa.repeat(now, len(assets))],
                     names=[*names, "batch_id", "loaded_at"])  # fmt: skip
    columns = [(name, name) for name in table.schema.names]
    return Input("universe", columns).add(_written(table, folder / "universe"), table.schema)


def _written(table: pa.Table, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    (folder / "000000.parquet").write_bytes(sink.getvalue())
    return folder
