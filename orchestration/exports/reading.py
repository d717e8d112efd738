"""Reads a query from Postgres as Arrow: `COPY … TO STDOUT` as CSV, parsed in columns. Knows nothing of marts.

CSV keeps each value as Postgres writes it: exact decimals as text, doubles in the shortest form that reads back equal.
"""
# ruff: noqa: S608 - names of marts and columns are our own; values are bound

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Literal

import psycopg2.extensions as pg
import pyarrow as pa
import pyarrow.csv

from ingestion.arrow import UTC_US
from ingestion.database.connections import Connection

# The usual scale of exact columns, so that a column keeps its type when a longer fraction arrives.
_SCALE, _DIGITS = 18, 38
Numbers = Literal["double", "decimal", "text"]
_TYPES = {
    16: pa.bool_(), 20: pa.int64(), 21: pa.int32(), 23: pa.int32(), 700: pa.float32(), 701: pa.float64(),
    1082: pa.date32(), 1184: UTC_US,
}  # fmt: skip
_NUMERIC = {"double": pa.float64(), "decimal": pa.string(), "text": pa.string()}
NUMERIC = 1700
_BLOCK_BYTES = 4 << 20


def query_schema(connection: Connection, query: str, numbers: Numbers = "double") -> pa.Schema:
    """Return the Arrow schema of a query's rows; `numbers` is how the type numeric is read."""
    with connection.cursor() as cursor:
        cursor.execute(f"select * from ({query}) as rows limit 0")
        assert cursor.description is not None
        described = {column.name: column.type_code for column in cursor.description}
        types = _TYPES | {NUMERIC: _NUMERIC[numbers]}
        schema = pa.schema([(name, types.get(code, pa.string())) for name, code in described.items()])
        if numbers != "decimal":
            return schema
        exact = [name for name, code in described.items() if code == NUMERIC]
        return _with_decimals(cursor, query, schema, exact)


def _with_decimals(cursor: pg.cursor, query: str, schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """Give columns of type numeric a decimal type that holds each of their values; text if there is none.

    There is none for NaN, infinity and more than 38 digits, which DuckDB cannot read either.
    """
    if not names:
        return schema
    measured = ", ".join(
        f"max(scale({name})), max(length(trunc(abs({name}))::text)), "
        f"bool_or({name} in ('NaN', 'Infinity', '-Infinity'))"
        for name in names
    )
    cursor.execute(f"select {measured} from ({query}) as rows")
    found = cursor.fetchone() or ()
    for name, digits in zip(names, (found[i : i + 3] for i in range(0, len(found), 3)), strict=True):
        longest, whole, special = digits
        scale = max(longest or 0, min(_SCALE, _DIGITS - (whole or 1)))
        if not special and scale + (whole or 1) <= _DIGITS:
            schema = schema.set(schema.get_field_index(name), pa.field(name, pa.decimal128(_DIGITS, scale)))
    return schema


def read_batches(connection: Connection, query: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield a query's rows in their order, in batches of a few megabytes.

    Raises psycopg2.Error if the query fails. A caller that stops early cancels the query.
    """
    outlet, inlet = os.pipe()
    failed: list[BaseException] = []

    def copy() -> None:
        try:
            with os.fdopen(inlet, "wb") as file, connection.cursor() as cursor:
                cursor.copy_expert(f"copy ({query}) to stdout (format csv)", file)
        except BaseException as error:  # raised again by the reader
            failed.append(error)

    writer = threading.Thread(target=copy, daemon=True)
    writer.start()
    try:
        with os.fdopen(outlet, "rb") as file:
            yield from _parsed(file, schema)
    except GeneratorExit:
        connection.cancel()
        raise
    finally:
        writer.join()
    if failed:
        raise failed[0]


def read_table(connection: Connection, query: str, numbers: Numbers = "double") -> pa.Table:
    """Return a query's rows as one table."""
    schema = query_schema(connection, query, numbers)
    return pa.Table.from_batches(read_batches(connection, query, schema), schema)


def _parsed(file: object, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    try:
        reader = pa.csv.open_csv(
            file,
            read_options=pa.csv.ReadOptions(column_names=schema.names, block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
                true_values=["t"], false_values=["f"],
            ),
        )  # fmt: skip
    except pa.ArrowInvalid as error:
        if "Empty CSV" in str(error):
            return
        raise
    yield from reader
