"""Parses bars, JSON arrays (REST) or lines of CSV (archive files) with twelve elements, into bronze columns.

Belongs here: the text of a bar and its exact numbers and times. Does not: requesting it (``rest``, ``archive``), nor
the rules that a bar must satisfy (``contract``).
"""

from __future__ import annotations

import codecs
import json
import re
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from ingestion.arrow import DECIMAL, UTC_US, align_decimals, decimals, epoch_to_utc
from ingestion.datasets import Page, page_schema
from ingestion.sources.binance.contract import BRONZE_ONLY, COLUMNS
from ingestion.validation import Rejected

FIELDS = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "trade_count",
    "taker_buy_base_volume", "taker_buy_quote_volume", "extra",
)  # fmt: skip
_INTEGERS = ("open_time", "close_time", "trade_count")
_DECIMALS = tuple(name for name in FIELDS if name not in (*_INTEGERS, "extra"))
# Archives of other markets begin with a header; any other first line that is not a bar is a rejected record.
_HEADER = re.compile(rb'"?open[ _]?time', re.IGNORECASE)
_BRONZE = page_schema(COLUMNS, BRONZE_ONLY).names
# One bar as REST sends it, without its digits; brackets and quotes become characters that no number contains.
_FRAME = b"[" + b",".join(b"" if name in _INTEGERS else b'""' for name in FIELDS) + b"]"
_TO_LINES = bytes.maketrans(b'[]"', b" \n ")
_TYPES = {**dict.fromkeys(_INTEGERS, pa.int64()), **dict.fromkeys(_DECIMALS, DECIMAL), "extra": pa.string()}
# No nulls and no type inference: what is not a number of eight places is left to the slower parser.
_PARSE = pyarrow.csv.ParseOptions(quote_char=False)
_CONVERT = pyarrow.csv.ConvertOptions(column_types={"": pa.string(), **_TYPES}, null_values=[])


def parse_klines(body: bytes, symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Parse a klines response into the dataset's bronze columns (without ``batch_id``), a column at a time.

    ValueError when the body is not a list of lists. Records of a wrong shape or type are returned as rejected, apart
    from the others.
    """
    lines = _lines(body)
    if lines is not None:
        try:
            return Page(_from_lines(lines, ("", *FIELDS), symbol, interval, url, fetched_at))
        except (pa.ArrowException, ValueError):
            pass  # the slower parser finds the record and the reason
    rows = orjson.loads(body)
    if not isinstance(rows, list):
        raise ValueError("not a list of bars")
    return read_bars(rows, symbol, interval, url, fetched_at)


def _lines(body: bytes) -> bytes | None:
    """Return a response as lines of CSV (an empty column, then the twelve), or None if its frame is not REST's.

    This takes a third of the time of a JSON parser and its objects, most of it without the interpreter lock, and is as
    strict: the frame is compared byte by byte, and a digit outside its field is separated by white space or fills the
    empty column, which the number parser rejects.
    """
    frame = body.translate(None, b"0123456789.")
    bars = len(frame) // (len(_FRAME) + 1)
    if not bars or not body.startswith(b"[[") or not body.endswith(b"]]"):
        return None
    if frame != b"[" + b",".join([_FRAME] * bars) + b"]":
        return None
    return b"," + body[1:-1].translate(_TO_LINES)


def parse_csv(text: bytes, symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Parse an archive's lines into what REST sends for the same bars: times are truncated to milliseconds."""
    text = text.removeprefix(codecs.BOM_UTF8)
    if _HEADER.match(text):
        text = text.partition(b"\n")[2]
    if text:
        try:
            return Page(_to_rest_grain(_from_lines(text, FIELDS, symbol, interval, url, fetched_at)))
        except (pa.ArrowException, ValueError):
            pass  # the slower parser finds the record and the reason
    return _line_by_line(text, symbol, interval, url, fetched_at)


def _from_lines(
    text: bytes, names: tuple[str, ...], symbol: str, interval: str, url: str, fetched_at: datetime
) -> pa.Table:
    """Parse well-formed lines a column at a time; any exception means that at least one line is malformed."""
    options = pyarrow.csv.ReadOptions(column_names=names, use_threads=False, block_size=len(text))
    read = pyarrow.csv.read_csv(pa.py_buffer(text), options, _PARSE, _CONVERT)
    constants = {"": "", "extra": " 0 "} if "" in names else {"extra": "0"}
    for name, text_of_each in constants.items():
        if not pc.all(pc.equal(read[name], text_of_each)).as_py():
            raise ValueError(f"{name or 'the text between two bars'} is not the usual constant")
    columns: dict[str, Any] = {name: read[name] for name in (*_INTEGERS, *_DECIMALS)}
    return _table(columns, pa.nulls(len(read), pa.string()), symbol, interval, url, fetched_at)


def _table(
    columns: dict[str, Any], extra: pa.Array, symbol: str, interval: str, url: str, fetched_at: datetime
) -> pa.Table:
    rows = len(extra)
    for name in ("open_time", "close_time"):
        columns[name] = epoch_to_utc(columns[name])
    columns |= {
        "symbol": pa.repeat(symbol, rows),
        "interval": pa.repeat(interval, rows),
        "extra": extra,
        "source_url": pa.repeat(url, rows),
        "fetched_at": pa.repeat(pa.scalar(fetched_at, UTC_US), rows),
    }
    return pa.table({name: columns[name] for name in _BRONZE})


def read_bars(rows: list[Any], symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Turn twelve-element bars into a page; those of a wrong shape or type are returned as rejected."""
    try:
        return Page(_columns(rows, symbol, interval, url, fetched_at))
    except (ValueError, TypeError, OverflowError, pa.ArrowException):
        return _row_by_row(rows, symbol, interval, url, fetched_at)


def _columns(rows: list[Any], symbol: str, interval: str, url: str, fetched_at: datetime) -> pa.Table:
    """Turn well-formed rows into columns; any exception means that at least one row is malformed."""
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(FIELDS)
    if len(columns) < len(FIELDS):
        raise ValueError(f"{len(columns)} fields instead of {len(FIELDS)}")
    by_name = dict(zip(FIELDS, columns, strict=False))
    read: dict[str, Any] = {
        **{name: decimals(pa.array(by_name[name], pa.string())) for name in _DECIMALS},
        **{name: pa.array(by_name[name], pa.int64()) for name in _INTEGERS},
    }
    for name, column in read.items():
        if column.null_count:
            raise ValueError(f"{name} is missing")
    tails = zip(*columns[len(FIELDS) - 1 :], strict=True)
    extra = pa.array([json.dumps(cells) if cells != ("0",) else None for cells in tails], pa.string())
    return _table(read, extra, symbol, interval, url, fetched_at)


def _row_by_row(rows: list[Any], symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Parse each row separately, so that only bad records are rejected."""
    good: list[Any] = []
    rejected: list[Rejected] = []
    for row in rows:
        try:
            if not isinstance(row, list):
                raise ValueError(f"a {type(row).__name__} instead of a list")
            for name, cell in zip(FIELDS, row, strict=False):
                if name in _DECIMALS and not isinstance(cell, str):
                    raise ValueError(f"{name} is {json.dumps(cell)}, not text")
            _columns([row], symbol, interval, url, fetched_at)
            good.append(row)
        except (ValueError, TypeError, OverflowError, pa.ArrowException) as error:
            rejected.append(Rejected(json.dumps({"symbol": symbol, "interval": interval, "bar": row}), str(error)))
    widths = sorted({len(row) for row in good}) or [len(FIELDS)]
    even = [_columns([r for r in good if len(r) == width], symbol, interval, url, fetched_at) for width in widths]
    return Page(pa.concat_tables(align_decimals(even)), tuple(rejected))


def _line_by_line(text: bytes, symbol: str, interval: str, url: str, fetched_at: datetime) -> Page:
    """Parse each line of CSV separately, so that only bad records are rejected."""
    integers = [FIELDS.index(name) for name in _INTEGERS]
    rows: list[list[str | int]] = []
    # Not str.splitlines and not csv.reader: a quote or form feed in a damaged line must not affect the next line.
    for line in text.decode("utf-8", "replace").split("\n"):
        if not line.strip():
            continue
        cells: list[str | int] = [cell.strip('"') for cell in line.rstrip("\r").split(",")]
        for at in integers:
            cell = str(cells[at]) if at < len(cells) else ""
            if cell.isascii() and cell.isdigit() and len(cell) < 20:
                cells[at] = int(cell)
        rows.append(cells)
    page = read_bars(rows, symbol, interval, url, fetched_at)
    return Page(_to_rest_grain(page.rows), page.rejected)


def _to_rest_grain(table: pa.Table) -> pa.Table:
    """Truncate times to milliseconds: a bar ends at .999 in REST and at .999999 in the files since 2025."""
    for name in ("open_time", "close_time"):
        micros = np.asarray(table[name].combine_chunks().cast(pa.int64()))
        cut = pa.array(micros - micros % 1000, pa.int64()).cast(UTC_US)
        table = table.set_column(table.schema.get_field_index(name), name, cut)
    return table
