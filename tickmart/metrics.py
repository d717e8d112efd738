"""The definitions of the columns: the comments of the marts, split into text, formula and unit."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

_LINE = re.compile(r"^(Formula|Unit): (.+)$", re.M)
_SCHEMA = pa.schema([(name, pa.string()) for name in ("mart", "column", "type", "definition", "formula", "unit")])


def metrics_table(columns: Iterable[tuple[str, str, str, str | None]]) -> pa.Table:
    """Return one row per column, given as mart, column, type and comment."""
    rows = []
    for mart, column, data_type, comment in columns:
        lines = dict(_LINE.findall(comment or ""))
        text = " ".join(_LINE.sub("", comment or "").split())
        rows.append((mart, column, data_type, text or None, lines.get("Formula"), lines.get("Unit")))
    values = zip(*rows, strict=True) if rows else [()] * len(_SCHEMA)
    return pa.table([pa.array(column, pa.string()) for column in values], schema=_SCHEMA)
