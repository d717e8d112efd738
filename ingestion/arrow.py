"""Exact Arrow columns: decimals, JSON numbers, UTC timestamps, unions and deduplication. No dataset is named here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UTC_US = pa.timestamp("us", tz="UTC")
# Exact numbers: the scale grows past 8 only when a value needs it (see `decimals`).
DECIMAL = pa.decimal128(38, 8)
DIGITS = 38


def decimals(texts: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Turn decimal text into an exact decimal column; ValueError for a text that is not a number or too long (`exact`).

    Eight places are what Binance sends. A text with more gets a column of a larger scale.
    """
    if isinstance(texts, pa.Array):
        texts = pa.chunked_array([texts])
    try:
        return texts.cast(DECIMAL)
    except pa.ArrowInvalid:
        numbers = {text: exact(text) for text in pc.drop_null(texts.unique()).to_pylist()}
        places = max(8, *(-int(n.as_tuple().exponent) for n in numbers.values()))
        digits = max(n.adjusted() + 1 for n in numbers.values())
        kind = pa.decimal128(38, places) if places + digits <= 38 else pa.decimal256(76, places)
        plain = [None if t is None else format(numbers[t], "f") for t in texts.to_pylist()]
        return pa.chunked_array([pa.array(plain, pa.string()).cast(kind)])


def exact(text: str) -> Decimal:
    """Return a number of at most 38 digits on either side of the point; ValueError for any other text.

    The bound makes any two numbers fit into one column (76 digits): no record can make another one fail.
    """
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:60]!r} is no decimal number") from None
    if not number.is_finite():
        raise ValueError(f"{text!r} is not finite")
    if number.adjusted() >= DIGITS or -int(number.as_tuple().exponent) > DIGITS:
        raise ValueError(f"{text[:60]!r} has more than {DIGITS} digits before or behind the point")
    return number


def read_json(text: str) -> Any:
    """Parse JSON with fractions as Decimal; ValueError if it is not JSON or has what Postgres rejects (NaN, NUL)."""
    try:
        value = json.loads(text, parse_float=_bounded, parse_constant=_no_number)
        text.encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if "\\u" in text and not _storable(value):
        raise ValueError("it holds a character that no UTF-8 text can (NUL or half a surrogate pair)")
    return value


def _bounded(text: str) -> Decimal:
    number = Decimal(text)
    if not -1000 < number.adjusted() < 1000:
        raise ValueError(f"{text[:60]} is beyond every number that is sent")
    return number


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)
    if isinstance(value, dict):
        return all(_storable(part) for pair in value.items() for part in pair)
    return not isinstance(value, list) or all(_storable(part) for part in value)


_YEAR_1_US, _YEAR_10000_US = -62_135_596_800_000_000, 253_402_300_800_000_000


def epoch_to_utc(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Turn epoch integers into UTC timestamps. The magnitude of each value decides its unit.

    Seconds are below 1e11 (year 5138), milliseconds below 1e14, everything else is microseconds. Binance archives
    switched to microseconds in 2025 and files are regenerated, so a file's date does not determine the unit.
    ValueError for a value outside the years 1 to 9999, which Python cannot represent.
    """
    numbers = values.to_numpy(zero_copy_only=False).astype("int64", copy=False)
    size = np.abs(numbers)
    if len(size) and size.min() >= 10**11 and size.max() < 10**14:
        micros = numbers * 1000
    else:
        micros = np.where(size < 10**11, numbers * 1_000_000, np.where(size < 10**14, numbers * 1000, numbers))
    wrong = np.flatnonzero((micros < _YEAR_1_US) | (micros >= _YEAR_10000_US))
    if len(wrong):
        raise ValueError(f"{numbers[wrong[0]]} is no time")
    return pa.array(micros, pa.int64()).cast(UTC_US)


def align_decimals(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """Cast the tables' decimal columns to the widest type among them, so that they can be concatenated exactly."""
    out = list(tables)
    for name in out[0].schema.names:
        kinds = {t.schema.field(name).type for t in out}
        if len(kinds) > 1 and all(pa.types.is_decimal(k) for k in kinds):
            places = max(k.scale for k in kinds)
            before_point = max(k.precision - k.scale for k in kinds)
            kind = pa.decimal128(38, places) if places + before_point <= 38 else pa.decimal256(76, places)
            out = [t.set_column(t.schema.get_field_index(name), name, _rescale(t[name], kind)) for t in out]
    return out


def _rescale(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return column.cast(pa.decimal256(76, kind.scale))


def last_wins(table: pa.Table, key: Sequence[str], by: Sequence[str] = ()) -> pa.Table:
    """Keep the last row of each key in the order of ``by`` (default: table order); sort by key."""
    if _strictly_ascending(table, key):
        return table.combine_chunks()
    order = pc.sort_indices(table.select([*key, *by]).combine_chunks(), [(name, "ascending") for name in (*key, *by)])
    in_order = np.array_equal(order, np.arange(len(table)))
    table = (table if in_order else table.take(order)).combine_chunks()
    if len(table) < 2:
        return table
    is_last = pa.array(np.zeros(len(table) - 1, dtype=bool))
    for name in key:
        is_last = pc.or_(is_last, pc.not_equal(table[name].chunk(0)[1:], table[name].chunk(0)[:-1]))
    return table if pc.all(is_last).as_py() else table.filter(pa.concat_arrays([is_last, pa.array([True])]))


def _strictly_ascending(table: pa.Table, key: Sequence[str]) -> bool:
    """Return whether each row's key is above the previous row's: a tenth of the time of sorting."""
    if len(table) < 2:
        return True
    ascending = pa.array(np.zeros(len(table) - 1, dtype=bool))
    for name in reversed(key):
        column = table[name].combine_chunks()
        after, before = column[1:], column[:-1]
        ascending = pc.or_(pc.greater(after, before), pc.and_(pc.equal(after, before), ascending))
    return bool(pc.all(ascending).as_py())
