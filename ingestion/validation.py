"""Builds and applies the rules that a record must satisfy. Each source's package declares its own rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingestion.arrow import UTC_US

T = TypeVar("T")
# The reason for rejecting a record, and a function that marks the rows to reject.
Rule = tuple[str, Callable[[pa.Table], Any]]


@dataclass(frozen=True)
class Rejected:
    """A record that violates its contract, as the source sent it, and the reason."""

    record: str
    reason: str


def parse_each(
    records: Iterable[T], parse: Callable[[T], dict[str, Any]], text_of: Callable[[T], str]
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Parse each record into a row; one that ``parse`` cannot read is rejected alone, with ``text_of`` it."""
    rows: list[dict[str, Any]] = []
    rejected: list[Rejected] = []
    for record in records:
        try:
            rows.append(parse(record))
        except (ValueError, TypeError, KeyError, OverflowError, OSError) as problem:
            reason = f"{problem.args[0]} is missing" if isinstance(problem, KeyError) else str(problem)
            rejected.append(Rejected(text_of(record), reason))
    return rows, rejected


def positive(name: str) -> Rule:
    """Return the rule that a number is above 0."""
    return f"{name} is not above 0", lambda t: pc.less_equal(t[name], _zero(t[name]))


def not_negative(name: str) -> Rule:
    """Return the rule that a number is 0 or above."""
    return f"{name} is below 0", lambda t: pc.less(t[name], _zero(t[name]))


def not_above(low: str, high: str) -> Rule:
    """Return the rule that column ``low`` is at most column ``high``."""
    return f"{low} is above {high}", lambda t: pc.greater(*_comparable(t[low], t[high]))


def within(column: str, earliest: datetime, latest: datetime) -> Rule:
    """Return the rule that a time lies in [earliest, latest]; ``latest`` is now or a little later."""
    low, high = pa.scalar(earliest, UTC_US), pa.scalar(latest, UTC_US)
    return (
        # Without the present moment: the same record must be rejected for the same reason each time.
        f"{column} is before {earliest:%Y-%m-%d} or in the future",
        lambda t: pc.or_(pc.less(t[column], low), pc.greater(t[column], high)),
    )


def validate(table: pa.Table, rules: Sequence[Rule]) -> list[str | None]:
    """Return for each row the reasons to reject it, joined by "; ", or None. Each rule reads its columns once."""
    reasons: list[str | None] = [None] * len(table)
    for reason, violates in rules:
        violations = pc.fill_null(violates(table), False)
        if not pc.any(violations).as_py():
            continue
        for row in np.flatnonzero(np.asarray(violations)):
            known = reasons[row]
            reasons[row] = reason if known is None else f"{known}; {reason}"
    return reasons


def _zero(column: pa.ChunkedArray) -> pa.Scalar:
    return pa.scalar(Decimal(0) if pa.types.is_decimal(column.type) else 0, column.type)


def _comparable(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Give two decimal columns one type: Arrow fails on what would need more than 38 digits."""
    if left.type == right.type:
        return left, right
    kind = pa.decimal256(76, max(left.type.scale, right.type.scale))
    return left.cast(kind), right.cast(kind)
