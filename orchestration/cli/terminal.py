"""The terminal: a console that shows data as text, tables, and the rows of ``tickmart sql``."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import IO, Any

import orjson
import psycopg2
import psycopg2.extensions as pg
from rich.console import Console
from rich.table import Table

from ingestion.database.connections import Connection, WarehouseError
from ingestion.text import plain, positional, visible

# Type oids of Postgres.
BOOLEAN, FLOATS, NUMBERS, JSON = 16, (700, 701), (20, 21, 23, 700, 701, 1700), (114, 3802)
# Every value as Postgres writes it: a Python type would print 0.00000000 as 0E-8.
AS_TEXT = (
    pg.new_type(tuple(set(pg.string_types) - {BOOLEAN, *FLOATS}), "text", lambda value, _: value),
    pg.new_type(FLOATS, "float", lambda value, _: None if value is None else positional(str(value))),
    pg.new_type((BOOLEAN,), "boolean", lambda value, _: {"t": "true", "f": "false"}.get(str(value))),
)


def console(file: IO[str] | None = None) -> Console:
    """Return a console for ``file`` (default: stdout) that prints markup characters literally.

    When the output is piped, tables are not cut to a terminal's width.
    """
    out = file or sys.stdout
    width = None if out.isatty() else 10_000
    return Console(file=out, width=width, markup=False, emoji=False, highlight=False)


def line(out: Console, text: str) -> None:
    """Print one line of text, never wrapped."""
    out.print(visible(text), soft_wrap=True)


def table(out: Console, names: Iterable[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = ()) -> None:
    """Print rows under their names, the columns in ``right`` right-aligned; each cell on one line, null blank."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        shown.add_column(visible(name), justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(visible(plain(cell)) for cell in row))
    out.print(shown)


def print_query(connection: Connection, query: str, form: str) -> None:
    """Run one statement and print its rows as ``table``, ``csv`` or ``json``; WarehouseError if it fails."""
    with connection.cursor() as cursor:
        for kind in AS_TEXT:
            pg.register_type(kind, cursor)
        try:
            cursor.execute(query)
        except psycopg2.Error as error:
            raise WarehouseError(f"sql: {' '.join(str(error).split())[:300]}") from None
        if cursor.description is None:
            raise WarehouseError("sql: the statement returns no rows; it must be one query")
        kinds = [_kind(column.type_code) for column in cursor.description]
        print_rows([column.name for column in cursor.description], kinds, cursor, form)


def print_rows(names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[str | None]], form: str) -> None:
    """Print rows of text as ``table``, ``csv`` or ``json``; a column's kind is number, boolean, json or text."""
    if form == "csv":
        sys.stdout.writelines(",".join(map(_csv_cell, row)) + "\n" for row in chain([names], rows))
    elif form == "json":
        _print_json(names, kinds, rows)
    else:
        table(console(), names, rows)


def _kind(oid: int) -> str:
    """Return how JSON writes a Postgres type."""
    if oid == BOOLEAN:
        return "boolean"
    return "number" if oid in NUMBERS else "json" if oid in JSON else "text"


def _csv_cell(cell: str | None) -> str:
    """Return a cell as Postgres' COPY writes it: null is empty, an empty text is ""; Python's csv mixes them up."""
    if cell is None:
        return ""
    if cell == "" or any(char in cell for char in ',"\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def _print_json(names: Sequence[str], kinds: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Print an array of objects; numbers and JSON keep their digits, any other value is text."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise WarehouseError(f"sql: two columns are named {twice[0]}: rename one with `as` to use --json")
    found = [dict(zip(names, map(_json_value, row, kinds), strict=True)) for row in rows]
    sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() + "\n")


def _json_value(cell: str | None, kind: str) -> Any:
    if cell is None:
        return None
    if kind == "boolean":
        return cell == "true"
    if kind == "json" or (kind == "number" and cell.lower().strip("-") not in ("nan", "infinity", "inf")):
        return orjson.Fragment(cell)
    return cell
