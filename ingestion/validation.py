"""Rules that a record must satisfy: how they are built and applied. The rules themselves belong to each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    pass
from ingestion.arrow import UTC_US


@dataclass(frozen=True)
class Rejected:
    """A record that breaks its contract, as it was sent, and why."""

    record: str
    reason: str


# -- contracts -------------------------------------------------------------------------------------------------------

Rule = tuple[str, Callable[[pa.Table], Any]]


def _zero(column: pa.ChunkedArray) -> pa.Scalar:
    return pa.scalar(Decimal(0) if pa.types.is_decimal(column.type) else 0, column.type)


def _comparable(left: pa.ChunkedArray, right: pa.ChunkedArray) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
    """Give two decimal columns one type: left to itself, Arrow refuses what would need more than 38 digits."""
    if left.type == right.type:
        return left, right
    kind = pa.decimal256(76, max(left.type.scale, right.type.scale))
    return left.cast(kind), right.cast(kind)


def _positive(name: str) -> Rule:
    return f"{name} is not above 0", lambda t: pc.less_equal(t[name], _zero(t[name]))


def _not_negative(name: str) -> Rule:
    return f"{name} is below 0", lambda t: pc.less(t[name], _zero(t[name]))


def _above(low: str, high: str) -> Rule:
    return f"{low} is above {high}", lambda t: pc.greater(*_comparable(t[low], t[high]))


def outside(column: str, earliest: datetime, latest: datetime) -> Rule:
    """Return the rule that a time lies in [earliest, latest]; ``latest`` is now or a little later."""
    low, high = pa.scalar(earliest, UTC_US), pa.scalar(latest, UTC_US)
    return (
        # Without the present moment: the same record must be refused for the same reason each time.
        f"{column} is before {earliest:%Y-%m-%d} or in the future",
        lambda t: pc.or_(pc.less(t[column], low), pc.greater(t[column], high)),
    )


def judge(table: pa.Table, rules: Sequence[Rule]) -> list[str | None]:
    """Return for each row the reasons why it cannot be, joined by "; ", or None; all columns are read once per rule."""
    reasons: list[str | None] = [None] * len(table)
    for reason, breaks in rules:
        broken = pc.fill_null(breaks(table), False)
        if not pc.any(broken).as_py():
            continue
        for row in np.flatnonzero(np.asarray(broken)):
            known = reasons[row]
            reasons[row] = reason if known is None else f"{known}; {reason}"
    return reasons
