"""Encodes Arrow tables as Postgres' binary COPY, one piece ahead of the server.

Belongs here: the format (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"). Does not: which rows
go where (``loader``). Measured on 1.3 million bars: 1.0 s of CPU here and 2.0 s in the server, where CSV takes
3.9 s and 3.3 s.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

T = TypeVar("T")
# Postgres types with a binary encoding here; a table with another type is sent as CSV.
TYPES = frozenset({"text", "bigint", "numeric", "timestamptz"})
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01
_NUMERIC_NEGATIVE = 0x4000
_E4, _E8 = np.uint64(10**4), np.uint64(10**8)
_32, _LOW_32 = np.uint64(32), np.uint64(0xFFFF_FFFF)
# Rows encoded at a time: about 4 MB of bars, which stay in the processor's cache.
_PIECE = 16_384


def fits(table: pa.Table) -> bool:
    """Return whether ``binary_copy`` accepts the table: no nulls, and only Arrow types that map to ``TYPES``."""
    return all(
        column.null_count == 0
        and (
            column.type in (pa.string(), pa.int64(), pa.timestamp("us", tz="UTC"))
            or (pa.types.is_decimal128(column.type) and column.type.scale % 4 == 0)
        )
        for column in table.columns
    )


def binary_copy(table: pa.Table) -> Iterator[bytes]:
    """Yield what ``copy ... from stdin with (format binary)`` reads, piece by piece, for a table that ``fits``.

    string is text, int64 bigint, timestamp timestamptz and decimal numeric, with the scale it has (as from CSV).
    """
    yield from binary_copies([table])


def binary_copies(tables: Iterable[pa.Table]) -> Iterator[bytes]:
    """Yield one COPY of several tables of the same columns, which may also have these types, and nulls but in texts.

    fixed_size_binary is bytea, int32 integer, bool boolean. Consecutive rows that lack the same columns are encoded as
    one array: fast where nulls are rare or everywhere.
    """
    yield _HEADER
    for table in tables:
        for at in range(0, len(table), _PIECE):
            piece = table.slice(at, _PIECE).combine_chunks()
            columns = [piece[name].chunk(0) for name in piece.schema.names]
            nulls = {at: np.asarray(array.is_null()) for at, array in enumerate(columns) if array.null_count}
            yield from _rows([_column(array) for array in columns], nulls, len(piece))
    yield _TRAILER


_Texts = tuple[NDArray[np.int32], NDArray[np.uint8]]  # offsets of n + 1, and the bytes
_Fixed = NDArray[np.void]  # n values of the same width


def _column(array: pa.Array) -> _Texts | _Fixed:
    if pa.types.is_string(array.type):
        offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)[array.offset : array.offset + len(array) + 1]
        return offsets, np.frombuffer(array.buffers()[2] or b"", dtype=np.uint8)
    if pa.types.is_decimal(array.type):
        return _numeric(array)
    if pa.types.is_fixed_size_binary(array.type):
        width = array.type.byte_width
        values: _Fixed = np.frombuffer(array.buffers()[1], dtype=f"V{width}")
        return values[array.offset : array.offset + len(array)]
    if pa.types.is_boolean(array.type):
        return np.asarray(array.fill_null(False)).astype("u1").view("V1")
    if pa.types.is_int32(array.type):
        small: NDArray[np.int32] = array.fill_null(0).to_numpy()
        return small.astype(">i4").view("V4")
    numbers: NDArray[np.int64] = array.view(pa.int64()).fill_null(0).to_numpy()
    if pa.types.is_timestamp(array.type):
        numbers = numbers - _POSTGRES_EPOCH_US
    return numbers.astype(">i8").view("V8")


def _numeric(array: pa.Decimal128Array) -> _Fixed:
    """Return the numbers as numeric_recv takes them: four 16-bit words, then base-10000 digits, leading zeros allowed.

    The words are the count of digits, the weight of the first, the sign and the scale:
    https://github.com/postgres/postgres/blob/REL_18_STABLE/src/backend/utils/adt/numeric.c (numeric_recv)
    """
    n, scale = len(array), array.type.scale
    words = np.frombuffer(array.buffers()[1], dtype="<u8")[2 * array.offset : 2 * (array.offset + n)].reshape(n, 2)
    low, high = words[:, 0], words[:, 1]
    negative = high.view(np.int64) < 0
    if negative.any():  # two's complement over both words
        high = np.where(negative, ~high + (low == 0), high)
        low = np.where(negative, ~low + np.uint64(1), low)
    limbs = [high >> _32, high & _LOW_32, low >> _32, low & _LOW_32] if high.any() else [low]
    groups: list[NDArray[np.uint64]] = []  # eight decimal digits each, the lowest first
    while 8 * len(groups) < scale or any(limb.any() for limb in limbs):
        rest, quotients = np.zeros(n, dtype=np.uint64), []
        for limb in limbs:  # long division; a single limb has all 64 bits, and no rest before it
            quotient, rest = np.divmod((rest << _32) | limb, _E8)
            quotients.append(quotient)
        limbs = quotients
        groups.append(rest)
    out = np.empty((n, 4 + 2 * len(groups)), dtype=">i2")
    out[:, 0] = 2 * len(groups)
    out[:, 1] = 2 * len(groups) - scale // 4 - 1
    out[:, 2] = np.where(negative, _NUMERIC_NEGATIVE, 0)
    out[:, 3] = scale
    for at, group in enumerate(reversed(groups)):
        out[:, 4 + 2 * at], out[:, 5 + 2 * at] = np.divmod(group, _E4)
    return out.view(f"V{2 * out.shape[1]}").reshape(n)


def _rows(columns: list[_Texts | _Fixed], nulls: dict[int, NDArray[np.bool_]], n: int) -> Iterator[bytes]:
    """Yield the rows; consecutive rows with texts of equal lengths and nulls in the same columns are one array.

    ``nulls`` marks the null rows of the columns that have any.
    """
    breaks = np.zeros(n, dtype=bool)
    breaks[0] = True
    for column in columns:
        if isinstance(column, tuple):
            lengths = np.diff(column[0])
            breaks[1:] |= lengths[1:] != lengths[:-1]
    for missing in nulls.values():
        breaks[1:] |= missing[1:] != missing[:-1]
    starts = np.flatnonzero(breaks).tolist()
    for start, end in zip(starts, [*starts[1:], n], strict=True):
        values = [
            np.empty(end - start, dtype="V0") if at in nulls and nulls[at][start] else _slice(column, start, end)
            for at, column in enumerate(columns)
        ]
        fields = [(f"{part}{at}", kind) for at, v in enumerate(values) for part, kind in (("n", ">i4"), ("v", v.dtype))]
        out = np.empty(end - start, dtype=[("fields", ">i2"), *fields])
        out["fields"] = len(columns)
        for at, value in enumerate(values):
            is_null = at in nulls and nulls[at][start]
            out[f"n{at}"], out[f"v{at}"] = -1 if is_null else value.dtype.itemsize, value
        yield out.tobytes()


def _slice(column: _Texts | _Fixed, start: int, end: int) -> _Fixed:
    if not isinstance(column, tuple):
        return column[start:end]
    offsets, text = column
    width = int(offsets[start + 1] - offsets[start])
    return text[offsets[start] : offsets[end]].view(f"V{width}") if width else np.empty(end - start, dtype="V0")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yield the items; while one is used, another thread produces the next."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as maker:
        coming = maker.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = maker.submit(next, items, None)
            yield item


class Stream:
    """Pieces of bytes as the file that psycopg2's copy reads from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = io.BytesIO()

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        while not (part := self._piece.read(size)):
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._piece = io.BytesIO(piece)
        return part
