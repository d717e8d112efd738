"""SQL over the bronze lake with DuckDB: a view for each dataset, whose files are chosen by date and interval.

Only `tickmart sql --lake` imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any

import certifi
import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs

from ingestion.bronze.objects import LakeError
from ingestion.datasets import Dataset
from ingestion.settings import ObjectStore
from ingestion.sources.registry import DATASETS
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
        for dataset in DATASETS:
            try:
                connection.register(dataset.name, _objects(files, store.bucket, dataset))
            except OSError as error:
                raise LakeError(f"S3 {store.endpoint}/{store.bucket}: {' '.join(str(error).split())[:300]}") from error
        connection.execute("set timezone = 'UTC'")
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")
        yield connection


def _objects(files: pyarrow.fs.FileSystem, bucket: str, dataset: Dataset) -> ds.Dataset:
    """Return a dataset's objects. A column date that records lack is the folder's; its files are chosen by it."""
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
        pyarrow.fs.FileSelector(f"{bucket}/{dataset.prefix}", recursive=True, allow_not_found=True),
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
