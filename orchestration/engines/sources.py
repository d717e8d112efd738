"""The tables of raw on an engine: views over the files of ``inputs``. Runs in the environment of an engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def register(run: Callable[[str], Any], source: Mapping[str, Any]) -> None:
    """Create the tables over a source's folders and the view of raw that unites them."""
    name, columns = source["name"], source["columns"]
    listed = ", ".join(f"{sql} as `{column}`" for column, sql in columns)
    parts = []
    for number, (folder, schema) in enumerate(zip(source["folders"], source["schemas"], strict=True)):
        types = ", ".join(f"`{column}` {kind}" for column, kind in schema)
        run(f"create table raw_files.{name}_{number} ({types}) using parquet location 'file://{folder}'")
        parts.append(f"select {listed} from raw_files.{name}_{number}")  # noqa: S608 - declared names
    query = " union all ".join(parts)
    run(f"create view raw.{name} as {query}")
