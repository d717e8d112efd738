"""Turns files of blocks and transactions into exact Arrow tables: hashes as bytes, BTC doubles as satoshis.

Belongs here: columns, types, and the rules of a single record. Does not: which blocks count and what a day must
satisfy (``chain``). Never reads the nested inputs and outputs.
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ingestion.arrow import UTC_US
from ingestion.sources.bitcoin.chain import Block
from ingestion.sources.bitcoin.dataset import HASH
from ingestion.validation import Rejected

SATS, MAX_SATS = 10**8, 21_000_000 * 10**8
# Doubles are running float sums. Rounding is exact while they differ from a whole satoshi by less than this, in BTC.
ROUNDING_ERROR_BTC = 1e-9
BATCH_ROWS = 1 << 16
Kind = tuple[str, ...]
_TEXT: Kind = ("string", "large_string")
_INT: Kind = ("int32", "int64", "uint32", "uint64", "int16")
_TIME: Kind = ("timestamp[us]", "timestamp[ms]", "timestamp[ns]", "timestamp[us, tz=UTC]", "timestamp[ms, tz=UTC]")
TRANSACTION_COLUMNS: Mapping[str, Kind] = {
    "hash": _TEXT, "block_hash": _TEXT, "block_number": _INT, "block_timestamp": _TIME, "is_coinbase": ("bool",),
    "input_count": _INT, "output_count": _INT, "size": _INT, "virtual_size": _INT, "output_value": ("double",),
}  # fmt: skip
_NUMBERS = ("block_number", "input_count", "output_count", "size", "virtual_size")
# The first files have no fee.
OPTIONAL_TRANSACTION_COLUMNS: Mapping[str, Kind] = {"index": _INT, "input_value": ("double",), "fee": ("double",)}
BLOCK_COLUMNS: Mapping[str, Kind] = {
    "hash": _TEXT, "number": _INT, "timestamp": _TIME, "transaction_count": _INT,
}  # fmt: skip
OPTIONAL_BLOCK_COLUMNS: Mapping[str, Kind] = {
    "mediantime": _TIME, "previousblockhash": _TEXT, "size": _INT, "weight": _INT,
}  # fmt: skip
TRANSACTIONS_SCHEMA = pa.schema(
    [
        pa.field("txid", HASH),
        pa.field("block_hash", HASH),
        pa.field("block_number", pa.int32()),
        pa.field("position", pa.int32()),
        pa.field("block_timestamp", UTC_US),
        pa.field("is_coinbase", pa.bool_()),
        pa.field("input_count", pa.int32()),
        pa.field("output_count", pa.int32()),
        pa.field("input_sats", pa.int64()),
        pa.field("output_sats", pa.int64()),
        pa.field("fee_sats", pa.int64()),
        pa.field("size_bytes", pa.int32()),
        pa.field("virtual_size", pa.int32()),
    ]
)


class SchemaError(ValueError):
    """A file that lacks a required column or has one of another type; the message names it."""


def open_file(source: pa.NativeFile) -> pq.ParquetFile:
    """Open a Parquet file; ArrowInvalid or OSError when it is truncated."""
    return pq.ParquetFile(source, pre_buffer=True)


def _columns(schema: pa.Schema, required: Mapping[str, Kind], optional: Mapping[str, Kind]) -> list[str]:
    """Return the columns to read; SchemaError for a missing required one, or for one of another type."""
    names = []
    for name, kinds in {**required, **optional}.items():
        at = schema.get_field_index(name)
        if at < 0:
            if name in required:
                raise SchemaError(f"column {name} is missing")
            continue
        kind = schema.field(at).type
        # An optional column that is null in every row has no type of its own.
        if str(kind) not in kinds and not (name in optional and pa.types.is_null(kind)):
            raise SchemaError(f"column {name} is {kind}, not {kinds[0]}")
        names.append(name)
    return names


def read_blocks(file: pq.ParquetFile, day: date, *, is_daily: bool) -> list[Block]:
    """Return the blocks of a file; SchemaError for other columns, ValueError for a block without hash or height."""
    table = file.read(_columns(file.schema_arrow, BLOCK_COLUMNS, OPTIONAL_BLOCK_COLUMNS), use_threads=False)
    return [_block(row, day, is_daily) for row in table.to_pylist()]


def _block(row: Mapping[str, Any], day: date, is_daily: bool) -> Block:
    missing = next((name for name in BLOCK_COLUMNS if row[name] is None), None)
    if missing:
        raise ValueError(f"a block has no {missing}")
    previous = row.get("previousblockhash")
    return Block(
        day=day,
        block_hash=_hash(row["hash"]),
        number=row["number"],
        time=_utc(row["timestamp"]),
        median_time=_utc(row["mediantime"]) if row.get("mediantime") else None,
        previous_hash=_hash(previous) if previous else None,
        transaction_count=row["transaction_count"],
        size_bytes=row.get("size"),
        weight=row.get("weight"),
        is_final=is_daily,
    )


def _hash(text: str) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise ValueError(f"{text[:70]!r} is not a hash")
    return value


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def read_transactions(file: pq.ParquetFile) -> Iterator[tuple[pa.Table, list[tuple[str, Rejected]]]]:
    """Yield the transactions of a file in batches: a table of TRANSACTIONS_SCHEMA, and the rejected records.

    A rejected record is given with its block hash as text. SchemaError for other columns or types.
    """
    names = _columns(file.schema_arrow, TRANSACTION_COLUMNS, OPTIONAL_TRANSACTION_COLUMNS)
    for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
        yield parse_transactions(pa.Table.from_batches([batch]))


def parse_transactions(sent: pa.Table) -> tuple[pa.Table, list[tuple[str, Rejected]]]:
    """Return the valid rows of a batch as TRANSACTIONS_SCHEMA, and the other records with their block hash.

    Columns are those that the source sends; optional ones may be absent. A rejected record is JSON as sent.
    """
    sent = sent.combine_chunks()
    rows = len(sent)
    reasons = [""] * rows

    def reject(wrong: NDArray[np.bool_], reason: str) -> None:
        for at in np.flatnonzero(wrong):
            reasons[at] = f"{reasons[at]}; {reason}" if reasons[at] else reason

    output, bad_output = _satoshis(sent["output_value"])
    input_, bad_input = _optional_satoshis(sent, "input_value")
    fee, bad_fee = _optional_satoshis(sent, "fee")
    for name in TRANSACTION_COLUMNS:
        reject(np.asarray(sent[name].is_null()), f"{name} is missing")
    for name in ("hash", "block_hash"):
        reject(~_are_hashes(sent[name]), f"{name} is not a hash")
    reject(bad_output, "output_value is not from 0 to 21 million BTC in whole satoshis")
    reject(bad_input, "input_value is not from 0 to 21 million BTC in whole satoshis")
    reject(bad_fee, "fee is not from 0 to 21 million BTC in whole satoshis")
    coinbase = np.asarray(pc.fill_null(sent["is_coinbase"], False))
    numbers = {name: _int32(sent[name]) for name in _NUMBERS}
    for name, values in numbers.items():
        reject(values < 0, f"{name} is below 0 or above 2 billion")
    reject(coinbase & (numbers["input_count"] > 0), "a coinbase has inputs")
    reject(~coinbase & (numbers["input_count"] == 0), "a transaction has no inputs and is no coinbase")

    good = np.array([not reason for reason in reasons], dtype=bool)
    rejected = []
    if not good.all():
        for at in np.flatnonzero(~good).tolist():
            record = sent.slice(at, 1).to_pylist()[0]
            text = json.dumps(record, default=str)
            rejected.append((record.get("block_hash") or "", Rejected(text, reasons[at])))
        keep = pa.array(good)
        sent, coinbase = sent.filter(keep).combine_chunks(), coinbase[good]
        output, input_, fee = (a.filter(keep) for a in (output, input_, fee))
        numbers = {name: values[good] for name, values in numbers.items()}
    # Elsewhere the fee of a coinbase is 0 and its input its output; here both are unknown.
    unknown = pa.nulls(len(sent), pa.int64())
    position = _int32(sent["index"]) if "index" in sent.schema.names else np.full(len(sent), -1)
    columns = {
        "txid": _hash_bytes(sent["hash"]),
        "block_hash": _hash_bytes(sent["block_hash"]),
        "position": pa.array(position, pa.int32()),
        # A time without a zone is UTC; nanoseconds are whole seconds here.
        "block_timestamp": sent["block_timestamp"].cast(UTC_US, safe=False),
        "is_coinbase": pa.array(coinbase),
        "input_sats": pc.if_else(coinbase, unknown, input_),
        "output_sats": output,
        "fee_sats": pc.if_else(coinbase, unknown, fee),
        **{{"size": "size_bytes"}.get(name, name): pa.array(values, pa.int32()) for name, values in numbers.items()},
    }
    return pa.table({f.name: columns[f.name] for f in TRANSACTIONS_SCHEMA}, TRANSACTIONS_SCHEMA), rejected


def _satoshis(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.bool_]]:
    """Return BTC doubles as whole satoshis, and which are impossible; null stays null and is possible.

    Truncation was wrong in 5,803 of 85,754 real rows, so values are rounded.
    """
    null = np.asarray(column.is_null())
    btc = pc.fill_null(column, 0.0).to_numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.rint(btc * SATS)
        fits = (rounded >= 0) & (rounded <= MAX_SATS) & (np.abs(btc - rounded / SATS) < ROUNDING_ERROR_BTC)
    return pa.array(np.where(fits, rounded, 0).astype(np.int64), mask=null), ~fits & ~null


def _optional_satoshis(sent: pa.Table, name: str) -> tuple[pa.Array, NDArray[np.bool_]]:
    if name not in sent.schema.names or pa.types.is_null(sent[name].type):
        return pa.nulls(len(sent), pa.int64()), np.zeros(len(sent), dtype=bool)
    return _satoshis(sent[name])


def _int32(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Return whole numbers; null is 0, what int32 cannot hold is -1."""
    values = pc.fill_null(column.cast(pa.int64(), safe=False), 0).to_numpy()
    return np.where((values < 0) | (values > np.iinfo(np.int32).max), -1, values)


def _are_hashes(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Return which texts are 64 hexadecimal digits; null counts as one, because it is reported as missing."""
    return np.asarray(pc.fill_null(pc.match_substring_regex(column, "^[0-9a-fA-F]{64}$"), True))


def _hash_bytes(column: pa.ChunkedArray) -> pa.Array:
    """Return texts of 64 hexadecimal digits as 32 bytes each: the text buffer is decoded as one."""
    count = len(column)
    if not count:
        return pa.array([], HASH)
    text = column.cast(pa.large_string()).combine_chunks()
    text = text.chunk(0) if isinstance(text, pa.ChunkedArray) else text
    first = int(np.frombuffer(text.buffers()[1], dtype=np.int64)[text.offset])
    decoded = binascii.unhexlify(memoryview(text.buffers()[2])[first : first + 64 * count])
    return pa.FixedSizeBinaryArray.from_buffers(HASH, count, [None, pa.py_buffer(decoded)])
