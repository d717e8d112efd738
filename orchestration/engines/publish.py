"""Copies the marts of an engine into Postgres: schema ``marts_engine``, whose tables have the columns of ``marts``.

A schema of its own, so that the incremental models of ``marts`` keep their state. Belongs here: COPY and the swap.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from psycopg2 import sql

from ingestion.database.connections import Connection
from orchestration.engines.ranges import PARTITION, files_of

SCHEMA = "marts_engine"
READERS = ("dashboard_ro", "quality_ro", "reader")
BATCH_ROWS = 1 << 16


def publish(connection: Connection, tables: Path, marts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Replace the tables of the schema in one transaction; return the rows by mart. Readers see all or none of it."""
    rows = {}
    with connection, connection.cursor() as cursor:
        cursor.execute(f"create schema if not exists {SCHEMA}")
        for node in marts:
            rows[node["name"]] = _copy(cursor, tables / node["schema"] / node["name"], node)
        for role in READERS:
            cursor.execute(f"grant usage on schema {SCHEMA} to {role}")
            cursor.execute(f"grant select on all tables in schema {SCHEMA} to {role}")
    return rows


def _copy(cursor: Any, folder: Path, node: Mapping[str, Any]) -> int:
    target = sql.Identifier(SCHEMA, node["name"])
    model = sql.Identifier("marts", node["name"])
    names = list(node["columns"])
    cursor.execute(sql.SQL("drop table if exists {}").format(target))
    cursor.execute(sql.SQL("create table {} (like {} including all)").format(target, model))
    statement = sql.SQL("copy {} ({}) from stdin with (format csv)").format(
        target, sql.SQL(", ").join(map(sql.Identifier, names))
    )
    rows = 0
    for path, month in files_of(folder):
        own = [name for name in names if month is None or name != PARTITION]
        for batch in pq.ParquetFile(path).iter_batches(batch_size=BATCH_ROWS, columns=own):
            sink = io.BytesIO()
            table = pa.Table.from_batches([batch])
            if month is not None:
                table = table.append_column(PARTITION, pa.repeat(pa.scalar(month, pa.date32()), len(table)))
            table = table.select(names)
            pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
            sink.seek(0)
            cursor.copy_expert(statement, sink)
            rows += len(table)
    return rows
