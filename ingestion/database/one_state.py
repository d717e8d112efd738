"""Queries within one transaction, for readers of several tables that must see one state of the database.

`connections.fetch` reads each query in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg2.extras import RealDictCursor

from ingestion.database.connections import Connection


@contextmanager
def one_state(connection: Connection) -> Iterator[None]:
    """Let the queries of the block see the same state, and end its transaction."""
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    try:
        yield
    finally:
        connection.rollback()


def fetch(connection: Connection, query: str, values: Any = None) -> list[tuple[Any, ...]]:
    """Return the rows of a query in the present transaction."""
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def fetch_dicts(connection: Connection, query: str, values: Any = None) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts in the present transaction."""
    with connection.cursor(cursor_factory=RealDictCursor) as cursor:
        cursor.execute(query, values)
        return [dict(row) for row in cursor.fetchall()]
