"""The tables that a build reads: views over the files of ``inputs``. Runs in the environment of an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def register(run: Callable[[str], Any], source: Mapping[str, Any]) -> None:
    """Create the tables over a source's folders and the view that unites them."""
    schema, name, columns = source["schema"], source["name"], source["columns"]
    listed = ", ".join(f"{sql} as `{column}`" for column, sql in columns)
    parts = []
    for number, (folder, found) in enumerate(zip(source["folders"], source["schemas"], strict=True)):
        types = ", ".join(f"`{column}` {kind}" for column, kind in found)
        run(f"create table {schema}_files.{name}_{number} ({types}) using parquet location 'file://{folder}'")
        parts.append(f"select {listed} from {schema}_files.{name}_{number} where {source['condition']}")  # noqa: S608
    query = " union all ".join(parts)
    run(f"create view {schema}.{name} as {query}")
