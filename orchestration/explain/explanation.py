"""Puts an explanation together: the value, its recalculation, the window, and where its input rows came from.

Belongs here: the explanation as one dictionary. Does not: its parts (``target``, ``inputs``, ``provenance``), printing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pandas as pd

from ingestion.bronze.lake import Lake
from ingestion.database.connections import Connection
from ingestion.database.one_state import one_state
from ingestion.sources.binance.dataset import KLINES
from ingestion.sources.coingecko.dataset import MARKETS
from ingestion.sources.fear_greed.dataset import FEAR_GREED
from orchestration.explain import provenance, target
from orchestration.explain.arithmetic import DAY, HOUR, NullValue, Value
from orchestration.explain.inputs import Series
from orchestration.explain.metrics import Metric

# Binary fractions: the marts and the recalculation round at different steps.
RELATIVE_DIFFERENCE = 1e-9
_ROWS_SHOWN = 3
# Times of rows are compared as seconds in double precision.
_SAME_TIME_S = 1e-3
# How long the rows of a dataset last; a snapshot is of a moment.
_STEPS = {KLINES.name: HOUR, FEAR_GREED.name: DAY, MARKETS.name: pd.Timedelta(0)}


def explain(connection: Connection, lake: Lake, request: target.Request, *, read_all: bool = False) -> dict[str, Any]:
    """Return the explanation of one value; SettingsError if an argument is wrong or there is no such row.

    It reads one state of the database. ``read_all`` compares all bronze objects instead of the newest ones.
    """
    with one_state(connection):
        return _explain(connection, lake, request, read_all)


def _explain(connection: Connection, lake: Lake, request: target.Request, read_all: bool) -> dict[str, Any]:
    coins = target.find_named_coins(connection, request)
    found = target.find(connection, request, coins)
    argument, inputs = found.metric.window.read(connection, found.target)
    recalculated, reason = _recalculate(found.metric, argument, inputs)
    gaps = provenance.gaps(connection, inputs)
    if reason and gaps:
        reason += f" (gaps: {', '.join(sorted({gap['kind'] for gap in gaps}))})"
    equal = is_equal(found.value, recalculated, found.metric.tolerance)
    return {
        "mart": found.target.mart,
        "metric": found.column,
        "key": {name: _plain_time(value) for name, value in found.target.key.items()},
        "value": found.value,
        "unit": found.unit,
        "definition": found.definition,
        "formula": found.formula,
        "recalculated": recalculated,
        "is_equal": equal,
        "null_reason": reason,
        "notes": _notes(found, inputs, equal),
        "inputs": [_window(series) for series in inputs],
        "bronze": provenance.bronze_objects(connection, lake, inputs, read_all=read_all),
        "restatements": provenance.restatements(connection, inputs),
        "gaps": gaps,
        "checks": provenance.checks(connection, found.target.mart, inputs[0].dataset),
    }


def is_confirmed(explanation: dict[str, Any]) -> bool:
    """Return whether the recalculated value equals the mart's and the rows of raw equal the records of bronze."""
    bronze = explanation["bronze"]
    return explanation["is_equal"] and not bronze["rows_different"]


def is_equal(value: Value, recalculated: Value, tolerance: float = 0.0) -> bool:
    """Return whether two values are equal: decimals and counts exactly, binary fractions but for their rounding."""
    if isinstance(value, float) and isinstance(recalculated, float):
        return math.isclose(value, recalculated, rel_tol=RELATIVE_DIFFERENCE, abs_tol=tolerance)
    return value == recalculated


def _recalculate(metric: Metric, argument: Any, inputs: Sequence[Series]) -> tuple[Value, str | None]:
    if not any(len(series.rows) for series in inputs):
        first = inputs[0].first
        begins = f": the first one opened at {first:%Y-%m-%d %H:%M} UTC" if first is not None else ""
        return None, f"there is no valid row in the window{begins}"
    try:
        return metric.formula(argument), None
    except NullValue as null:
        return None, str(null)


def _notes(found: target.Found, inputs: Sequence[Series], equal: bool) -> list[str]:
    """Return what explains a value that differs from its recalculation."""
    if equal:
        return []
    loaded = max((series.rows["loaded_at"].max() for series in inputs if len(series.rows)), default=None)
    built_from = found.row["loaded_at"].timestamp()
    if loaded is not None and loaded > built_from + _SAME_TIME_S:
        return ["raw has newer rows than the mart was built from: `tickmart run` builds it"]
    return ["the mart differs from its input rows: `tickmart rebuild` builds it again from bronze"]


def _window(series: Series) -> dict[str, Any]:
    """Describe the input rows of one coin: how many there are and should be, and the first and last ones."""
    rows, expected = series.rows.drop(columns="loaded_at"), series.expected
    shown = rows if len(rows) <= 2 * _ROWS_SHOWN else pd.concat([rows.head(_ROWS_SHOWN), rows.tail(_ROWS_SHOWN)])
    return {
        "dataset": series.dataset.name,
        "coin": series.coin,
        "symbols": series.symbols,
        "window_start": expected[0].isoformat(),
        "window_end": (expected[-1] + _STEPS[series.dataset.name]).isoformat(),
        "expected": len(expected),
        "present": len(rows),
        "missing": len(series.missing),
        "before_first": series.before_first,
        "first_missing": [at.isoformat() for at in series.missing[:_ROWS_SHOWN]],
        "invalid": [{"at": at.isoformat(), "reason": reason} for at, reason in series.invalid.items()],
        "rows": [{"at": at.isoformat(), **_cells(row)} for at, row in zip(shown.index, _records(shown), strict=True)],
    }


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {name: cell if isinstance(cell, str | Decimal) else _number(cell) for name, cell in row.items()}


def _number(cell: Any) -> Any:
    return None if cell is None or cell != cell else int(cell)


def _plain_time(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
