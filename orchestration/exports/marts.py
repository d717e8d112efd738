"""What the catalog says of a mart: its columns and its key. Does not belong here: reading rows (``reading``)."""

from __future__ import annotations

from dataclasses import dataclass

from ingestion.database.connections import Connection
from ingestion.database.one_state import fetch


@dataclass(frozen=True)
class Column:
    """A column of a mart: its Postgres type, and its comment, which is the definition."""

    name: str
    type: str
    description: str


def mart_columns(connection: Connection, mart: str) -> list[Column]:
    """Return the columns of a mart in their order."""
    rows = fetch(
        connection,
        "select attname, format_type(atttypid, atttypmod), coalesce(col_description(attrelid, attnum), '') "
        "from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        (f"marts.{mart}",),
    )
    return [Column(*row) for row in rows]


def mart_key(connection: Connection, mart: str) -> list[str]:
    """Return the columns of a mart's primary key, which its contract declares; the key begins with the coin."""
    rows = fetch(
        connection,
        "select attname from pg_index join pg_attribute on attrelid = indrelid and attnum = any(indkey) "
        "where indrelid = %s::regclass and indisprimary order by array_position(indkey::smallint[], attnum)",
        (f"marts.{mart}",),
    )
    return [name for (name,) in rows]
