"""SQL over the bronze lake with DuckDB: a view for each dataset, whose files are chosen by date and interval.

Only `tickmart sql --lake` imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import certifi
import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from ingestion.bronze.lake import Lake
from ingestion.bronze.merged import current
from ingestion.bronze.objects import LakeError
from ingestion.datasets import Dataset, is_merged
from ingestion.settings import ObjectStore
from ingestion.sources.datasets import DATASETS
from ingestion.text import positional

# Objects have the scale that their numbers need; the widest price has 18 decimals.
_EXACT = pa.decimal128(38, 18)
_QUERIES = ([duckdb.StatementType.SELECT], [duckdb.StatementType.EXPLAIN])


@contextmanager
def lake_connection(store: ObjectStore) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a DuckDB connection whose views are the datasets of the lake; it reads nothing else and writes nowhere.

    A dataset without objects is an empty view. Raises LakeError if the object store cannot be reached.
    """
    files = pyarrow.fs.S3FileSystem(
        access_key=store.access_key,
        secret_key=store.secret_key,
        endpoint_override=store.endpoint,
        scheme="https" if store.secure else "http",
        region="us-east-1",
        tls_ca_file_path=os.environ.get("SSL_CERT_FILE") or certifi.where(),
    )
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        lake = Lake(store)
        for dataset in DATASETS:
            objects = current(lake.list(f"{dataset.prefix}/"))
            _create_view(connection, files, store.bucket, dataset, [info.key for info in objects])
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        yield connection


def _create_view(
    connection: duckdb.DuckDBPyConnection,
    files: pyarrow.fs.FileSystem,
    bucket: str,
    dataset: Dataset,
    keys: Sequence[str],
) -> None:
    """Create the view of a dataset's objects.

    A column date that records lack is the folder's, and files are chosen by it; a merged object is of several days, so
    that its rows have the day of the time that decides their object.
    """
    merged = [key for key in keys if is_merged(key)]
    if not merged or "date" in dataset.schema.names:
        connection.register(dataset.name, _objects(files, bucket, dataset, keys))
        return
    plain_name, merged_name = f"{dataset.name}__objects", f"{dataset.name}__merged_objects"
    connection.register(plain_name, _objects(files, bucket, dataset, sorted(set(keys) - set(merged))))
    connection.register(merged_name, _objects(files, bucket, dataset, merged))
    connection.execute(
        f"create temp view {dataset.name} as select * from {plain_name} union all "  # noqa: S608 - declared names
        f"select * replace ({dataset.merged_by[-1]}::date as date) from {merged_name}"
    )


def _objects(files: pyarrow.fs.FileSystem, bucket: str, dataset: Dataset, keys: Sequence[str]) -> ds.Dataset:
    """Return objects of a dataset as one table."""
    folder_date = [] if "date" in dataset.schema.names else [pa.field("date", pa.date32())]
    interval = [pa.field("interval", pa.string())] if "interval" in dataset.schema.names else []
    fields = [
        pa.field(field.name, pa.float64() if field.name in dataset.wide else _EXACT)
        if pa.types.is_decimal(field.type)
        else field.remove_metadata()
        for field in dataset.schema
    ]
    # The schema is given, so that no object is opened before a query needs it.
    return ds.FileSystemDatasetFactory(
        files,
        [f"{bucket}/{key}" for key in keys],
        ds.ParquetFileFormat(),
        ds.FileSystemFactoryOptions(partitioning=ds.partitioning(pa.schema(interval + folder_date), flavor="hive")),
    ).finish(pa.schema(folder_date + fields))


def run_query(
    connection: duckdb.DuckDBPyConnection, query: str
) -> tuple[list[str], list[str], Iterator[list[str | None]]]:
    """Run one query; return the names of its columns, their kinds (number, boolean, text), and its rows as text.

    Raises LakeError if it fails or is no query.
    """
    try:
        statements = connection.extract_statements(query)
        if [statement.type for statement in statements] not in _QUERIES:
            raise LakeError("sql --lake: it must be one query: a select over the datasets of the lake")
        found = connection.execute(statements[0])
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        raise LakeError(f"sql --lake: {' '.join(str(error).split())[:300]}") from None
    names = [column[0] for column in found.description or []]
    kinds = [_kind(str(column[1])) for column in found.description or []]
    return names, kinds, _rows(found)


def _rows(found: duckdb.DuckDBPyConnection) -> Iterator[list[str | None]]:
    while rows := found.fetchmany(10_000):
        for row in rows:
            yield [_text(cell) for cell in row]


def _kind(name: str) -> str:
    if name == "BOOLEAN":
        return "boolean"
    return "number" if name.startswith(("DECIMAL", "DOUBLE", "FLOAT")) or "INT" in name else "text"


def _text(cell: Any) -> str | None:
    """Return a cell as Postgres writes it."""
    match cell:
        case None:
            return None
        case bool():
            return str(cell).lower()
        case Decimal():
            return f"{cell:f}"
        case float():
            return positional(str(cell))
        case datetime():
            return cell.isoformat(" ")
        case _:
            return str(cell)
